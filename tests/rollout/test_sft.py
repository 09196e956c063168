import json

import pytest

from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.policy.models import load_tokenizer
from r1lab.recipe import ObjectiveConfig, SftStageConfig
from r1lab.records import Role
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.sampler import Sampler
from r1lab.rollout.sft import SftFeed, check, steps_of
from r1lab.stages.check import problems_of
from r1lab_data import Problem

PROBLEMS = [Problem(f"p{i}", f"{i}+1", str(i + 1), solution=f"it is {i + 1}") for i in range(6)]


def stage(**settings):
    return SftStageConfig(data={"task": "addition"}, **settings)


@pytest.fixture
def renderer(tiny_model):
    return Renderer(load_tokenizer(str(tiny_model)), context=40)


def test_steps_are_stated_or_as_many_as_the_epochs_take():
    assert steps_of(stage(steps=7), 100) == 7
    assert steps_of(stage(prompts_per_step=32), 100) == 4  # 100 / 32, rounded up
    assert steps_of(stage(prompts_per_step=32, epochs=0.5), 100) == 2 and steps_of(stage(), 1) == 1


def test_a_block_is_groups_of_one_demonstration_in_draw_order(renderer):
    sampler, objective = Sampler({"s": PROBLEMS}, [1.0], 0), build(ObjectiveConfig(preset="sft"), max_new_tokens=16)
    feed = SftFeed(stage=stage(), seed=0, sampler=sampler, renderer=renderer, objective=objective)
    block = feed.block(4)
    assert [settled.drawn.draw.number for settled in block] == [0, 1, 2, 3]
    for settled in block:
        (member,) = settled.kept.members
        assert member.verdict is None and member.reward == 1.0 and set(member.rollout.role) == {Role.DEMO}
        assert member.rollout.completion_ids == renderer.render_solution(settled.drawn.draw.problem)
    feed.observe(block)
    again = SftFeed(
        stage=stage(), seed=0, sampler=Sampler({"s": PROBLEMS}, [1.0], 0), renderer=renderer, objective=objective
    )
    again.load_state_dict(feed.state_dict())
    assert [settled.drawn.draw.number for settled in again.block(1)] == [4]


def test_every_demonstration_is_checked_before_the_run(renderer):
    assert check({"s": PROBLEMS}, renderer) == len(" it is 1") + 1  # a token a character, and EOS
    with pytest.raises(RecipeError, match="problem 'none' has no solution to learn from"):
        check({"s": [Problem("none", "1+1", "2")]}, renderer)
    with pytest.raises(RecipeError, match=r"problem 'long' has .* tokens with its solution, the context 40"):
        check({"s": [Problem("long", "1+1", "2", solution="x" * 40)]}, renderer)


def test_of_a_conversation_in_the_tokenizers_template_only_what_the_assistant_says_is_learned(tiny_model):
    tokenizer = load_tokenizer(str(tiny_model))
    sampler, objective = Sampler({"s": PROBLEMS[:1]}, [1.0], 0), build(ObjectiveConfig(preset="sft"), max_new_tokens=16)
    renderer = Renderer(tokenizer, template="chat")
    feed = SftFeed(stage=stage(), seed=0, sampler=sampler, renderer=renderer, objective=objective)
    (member,) = feed.block(1)[0].kept.members
    asked = [{"role": "user", "content": "0+1"}]
    said = [*asked, {"role": "assistant", "content": "it is 1"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(member.rollout.request.prompt_ids) == prompt
    learned = tokenizer.decode(member.rollout.completion_ids)
    assert prompt + learned == tokenizer.apply_chat_template(said, tokenize=False)
    ((sample,),) = prepared_updates(objective, [samples_of_group(objective, feed.block(1)[0].kept)], 1)
    assert sample.scale.size == len(member.rollout.completion_ids), "the prompt carries no loss"


def test_demonstrations_of_a_file_need_no_answers(tmp_path):
    talks = [[{"role": "user", "content": f"{i}+1"}, {"role": "assistant", "content": str(i + 1)}] for i in (1, 2)]
    (tmp_path / "demos.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    columns = {"prompt": "messages.0.content", "solution": "messages.1.content"}
    own = SftStageConfig(data={"path": str(tmp_path / "demos.jsonl"), "columns": columns})
    made = problems_of(own.data["data"], "data", own, tmp_path)
    assert [(problem.prompt, problem.solution) for problem in made] == [("1+1", "2"), ("2+1", "3")]
