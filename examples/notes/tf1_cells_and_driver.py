"""The fifth note's cells: TensorFlow 1's cells and its driver dynamic_rnn, from one node to a batch, on this package.

Edits: `tf.contrib.rnn` and `tf.nn.rnn_cell` became `rnn`, `tf.nn.dynamic_rnn` became `rnn.dynamic_rnn`, `tf.float32` became
`np.float32`. Dropped: `tf.variable_scope(...) as scope:` (which lacked its `with`), `sess.run(...)` of the initializer
and `.eval()`: weights are made at the first call, and results are there at once. `BasicLSTMCell(units=...)` is
`num_units=...`. Where a snippet leaves out its data ("..."), that of the next one stands; the letters' vectors, which the
note tells in its text, are written out. Two comments that tell other sizes than their code (batch 3 for a batch of one,
output_dim (5) for hidden_size 2) are put right. Results have a second name, for the tests.
"""

import pprint

import numpy as np

from tinygrad_rnn import rnn

pp = pprint.PrettyPrinter(indent=4)

h = [1, 0, 0, 0]
e = [0, 1, 0, 0]
l = [0, 0, 1, 0]  # noqa: E741
o = [0, 0, 0, 1]

# RNN in TensorFlow (twice in the note)
hidden_size = 2
x_data = np.array([[[1, 0, 0, 0]]], dtype=np.float32)

cell = rnn.BasicRNNCell(num_units=hidden_size)
outputs, _states = basic = rnn.dynamic_rnn(cell, x_data, dtype=np.float32)

# One cell RNN input_dim (4) -> output_dim (2)
hidden_size = 2
cell = rnn.BasicLSTMCell(num_units=hidden_size)

x_data = np.array([[[1, 0, 0, 0]]], dtype=np.float32)  # x_data = [[[1,0,0,0]]]
outputs, _states = one_node = rnn.dynamic_rnn(cell, x_data, dtype=np.float32)

pp.pprint(outputs)

# One cell RNN input_dim (4) -> output_dim (2). sequence: 5
hidden_size = 2
cell = rnn.LSTMCell(num_units=hidden_size, state_is_tuple=True)
x_data = np.array([[h, e, l, l, o]], dtype=np.float32)
print(x_data.shape)
pp.pprint(x_data)

outputs, states = unfolded = rnn.dynamic_rnn(cell, x_data, dtype=np.float32)
pp.pprint(outputs)

# One cell RNN input_dim (4) -> output_dim (2). sequence: 5, batch 3
# 3 batches 'hello', 'eolll', 'lleel'
x_data = np.array([[h, e, l, l, o], [e, o, l, l, l], [l, l, e, e, l]], dtype=np.float32)
pp.pprint(x_data)

hidden_size = 2
cell = rnn.LSTMCell(num_units=hidden_size, state_is_tuple=True)
outputs, _states = batched = rnn.dynamic_rnn(cell, x_data, sequence_length=[5, 3, 4], dtype=np.float32)

pp.pprint(outputs)
