"""The shell: the only code that knows workspaces, configuration files and processes."""
