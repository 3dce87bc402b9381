"""What people ask of a workspace, as data: no printing, no options, and nothing is written but labels."""
