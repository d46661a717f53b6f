# tests/test_research.py
from research import research


def script(model):
    model.reply("A queue for whoever waits.", when="sum up")  # the first that fits answers
    model.reply("- What is it?\n- Who needs it?", when="which questions")
    model.reply("A queue that survives.", when="what is it")
    model.reply("Whoever waits.", when="who needs it")


def test_questions_are_answered_and_summed_up(workflows):
    script(workflows.model)

    run = workflows.run(research, {"subject": "durable queues"})

    assert run.output == {
        "subject": "durable queues",
        "summary": "A queue for whoever waits.",
        "findings": [
            {"question": "What is it?", "answer": "A queue that survives."},
            {"question": "Who needs it?", "answer": "Whoever waits."},
        ],
        "unanswered": [],
    }
    assert workflows.model.requests[-1].messages[-1].content == (
        "Sum up what is known of durable queues:\n"
        "What is it? A queue that survives.\nWho needs it? Whoever waits."
    )


def test_question_that_the_model_refuses_is_named(workflows):
    workflows.model.fail("model_refused", when="what is it", times=0)
    workflows.model.reply("Whoever waits.", when="who needs it")

    task = {"subject": "durable queues", "questions": ["What is it?", "Who needs it?"]}
    run = workflows.run(research, task)

    assert run.output["unanswered"] == ["What is it?"]
    assert [found["answer"] for found in run.output["findings"]] == ["Whoever waits."]


def test_research_waits_for_a_model_that_is_away(workflows):
    script(workflows.model)
    workflows.model.is_away = True

    run = workflows.run(research, {"subject": "durable queues"})
    assert run.status == "suspended"
    workflows.model.is_away = False

    assert workflows.settle(run).status == "completed"


def test_research_survives_kills_everywhere(workflows):
    script(workflows.model)

    proof = workflows.prove_resumable(research, {"subject": "durable queues"})

    assert proof.output["summary"] == "A queue for whoever waits."
    assert proof.kills >= 10
