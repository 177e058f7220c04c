"""From a net to a scene: nodes, edges and boxes, with the places of views that need no program, and how they look."""
