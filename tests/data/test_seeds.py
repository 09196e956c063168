from r1lab_data.seeds import generator


def test_equal_parts_draw_the_same_in_every_process():
    assert generator(0, "addition", "train", 17).getrandbits(32) == 3966578715


def test_parts_are_told_apart_where_joined_texts_are_not():
    assert generator("a", "bc").random() != generator("ab", "c").random()
    assert generator(1).random() != generator("1").random()
