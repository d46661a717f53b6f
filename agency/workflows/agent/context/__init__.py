"""What fits into a model's context, and what gives way when something does not.

Pure, but for two callables that compaction is handed: one keeps a text in the workspace, one asks a
model for a summary. Everything costs time in what is new, not in what there is.

The loop, before each inference::

    budget = make_budget(traits.limits, reply_tokens=…, thinks=…)
    request = ladder.request(base)          # system, transcript.messages, todos, notes
    gauge = measure(request, transcript, budget, meter)
    if not gauge.fits:
        room = Room(budget=budget, meter=meter, gauge=gauge, model=…, summariser_tokens=…)
        found = await compact(transcript, room, keep_text=…, summarise=…)
        …record found.record() as a step, then:
        transcript.apply(found)             # after a restart: Compaction.parse(…)
        …and make the request again
    …the reply's record holds gauge.record(), and meter.learn(gauge.units, reply.prompt_tokens)

A result of a tool is bounded where it comes in, by ``budget.result_tokens(calls)``, because the
last two turns are never touched. When a server refuses a prompt all the same (`ContextTooLong`),
``meter.refused(gauge.units, error.prompt_tokens)`` makes the next look stricter.
"""
