"""The command line, `trainshed`: each module has a group of commands."""
