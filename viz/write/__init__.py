"""What leaves: DOT through the Graphviz program, Mermaid text, and the interactive page."""
