"""From a recorded graph to a net: layers, time steps, states, inputs, and what stands around them. Nothing here draws."""
