"""Places by the Graphviz program: of a whole picture, or of one time step that is repeated."""
