"""An app with a module of tasks, which Huey's command looks for."""
