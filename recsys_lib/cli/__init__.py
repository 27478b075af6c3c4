"""The command line, one file per command: ``python -m recsys_lib COMMAND``.

``app`` lists the commands and turns every mistake into one line; ``arguments`` holds the checks that several
commands share. A command checks its arguments before it imports anything heavy or starts to work.
"""
