import pytest

from r1lab.errors import RecipeError, RunError
from r1lab.run.files import written


def test_the_file_is_there_at_the_end_and_whole(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with written(path, "--out") as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_is_left_where_the_block_raises(tmp_path, error):
    with pytest.raises(error), written(tmp_path / "out", "--out") as file:
        file.write(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_the_run_s_failure(tmp_path):
    with pytest.raises(RunError, match="cannot be written to its end: No space"), written(tmp_path / "out", "--out"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_not_replaced_by_another_name_of_it(tmp_path):
    (tmp_path / "in").write_bytes(b"rows")
    (tmp_path / "hard").hardlink_to(tmp_path / "in")
    with (
        pytest.raises(RecipeError, match="is the input itself"),
        written(tmp_path / "hard", "--out", but=tmp_path / "in"),
    ):
        pass


def test_a_file_in_no_folder_is_a_mistake(tmp_path):
    with pytest.raises(RecipeError, match="cannot be written"), written(tmp_path / "no" / "out", "--out"):
        pass
