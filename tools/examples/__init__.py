"""What is in the example workflows, and how they become graphs of the editor."""
