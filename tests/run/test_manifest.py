import json

from r1lab.recipe import load
from r1lab.run import manifest


def test_no_secret_of_an_address_is_written_down():
    url = "https://me:k3y@a.org/x.jsonl?X-Amz-Signature=k3y"
    recipe = {"data": {"path": url}, "steps": 1, "eval": {"every": 1, "sets": {"held": {"path": url}}}}
    written = json.dumps(manifest.describe(load.resolve(recipe), {"data": {}}, {}, {}))
    assert "k3y" not in written and written.count("https://a.org/x.jsonl?...") == 2
