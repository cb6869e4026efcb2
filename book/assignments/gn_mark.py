"""Mark answers, one part at a time: ``gn_mark.py SET``, with a JSON request in each line of input.

This process never runs what a student wrote. It rebuilds answers from data, and it may be killed
at any time: the grader starts another one.
"""

import json
import os
import sys
from pathlib import Path


def outcome(one, request):
    """Mark one part of one submission."""
    import gn_answers

    try:
        answer = gn_answers.decode(request["data"])
    except gn_answers.NoAnswerError as error:
        return {"passed": False, "message": str(error), "answer": ""}
    try:
        result = one.module.mark(request["part"], answer, one.numbers, one.rng)
        passed, message = bool(result.passed), result.message
    except (TypeError, ValueError) as error:
        passed, message = False, str(error)
    except MemoryError:
        passed, message = False, "to look at this answer takes too much memory"
    except RecursionError:
        passed, message = False, "this answer is nested too deeply"
    except Exception as error:  # a fault of the check must not stop the class
        passed, message = False, f"the check failed ({type(error).__name__}); tell your instructor"
    try:
        answer = gn_answers.short(answer)
    except Exception:
        answer = ""
    return {"passed": passed, "message": message[:500], "answer": answer}


def main(name):
    """Answer requests until the input ends."""
    # What is printed by accident must not mix with the answers.
    replies = os.fdopen(os.dup(1), "w", encoding="utf8", newline="\n")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import gn_collect
    import gn_sets

    one = gn_sets.load(name)
    gn_collect.limit_resources(one.limits)
    print(json.dumps({"ready": one.instance}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(outcome(one, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
