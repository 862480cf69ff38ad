"""The command line, `trainshed`: one module a group of commands."""
