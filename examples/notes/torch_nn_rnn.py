"""The fourth note's cells: a recurrent net in NumPy, then PyTorch's nn.RNN: one layer, two, both directions, on this package.

Edits: `torch` became `tinygrad_rnn`; `torch.Tensor(1, 10, 5)`, which holds whatever was in memory, became zeros of that shape.
Imports (cells 1 and 8) stand at the head; results have a second name where the note uses the first again, for the tests.
"""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

# In [2]
timesteps = 10
input_size = 4
hidden_size = 8

inputs = numpy_inputs = np.random.random((timesteps, input_size))

hidden_state_t = np.zeros((hidden_size,))

# In [3], [4]
print(inputs)
print(hidden_state_t)

# In [5]
Wx = np.random.random((hidden_size, input_size))
Wh = np.random.random((hidden_size, hidden_size))
b = np.random.random((hidden_size,))

# In [6]
print(np.shape(Wx))
print(np.shape(Wh))
print(np.shape(b))

# In [7]
total_hidden_states = []

for input_t in inputs:
    output_t = np.tanh(np.dot(Wx, input_t) + np.dot(Wh, hidden_state_t) + b)
    total_hidden_states.append(list(output_t))
    print(np.shape(total_hidden_states))
    hidden_state_t = output_t

total_hidden_states = np.stack(total_hidden_states, axis=0)

print(total_hidden_states)

# In [9]
input_size = 5
hidden_size = 8

# In [10]
inputs = tg.tensor(np.zeros((1, 10, 5), np.float32))

# In [11]
cell = nn.RNN(input_size, hidden_size, batch_first=True)

# In [12], [13], [14]
outputs, _status = one_layer = cell(inputs)
print(outputs.shape)  # (1, 10, 8)
print(_status.shape)  # (1, 1, 8)

# In [15]
inputs = tg.tensor(np.zeros((1, 10, 5), np.float32))

# In [16]
cell = nn.RNN(input_size=5, hidden_size=8, num_layers=2, batch_first=True)

# In [17], [18], [19]
outputs, _status = two_layers = cell(inputs)
print(outputs.shape)  # (1, 10, 8)
print(_status.shape)  # (2, 1, 8)

# In [20]
inputs = tg.tensor(np.zeros((1, 10, 5), np.float32))

# In [21]
cell = nn.RNN(input_size=5, hidden_size=8, num_layers=2, batch_first=True, bidirectional=True)

# In [22], [23], [24]
outputs, _status = both_directions = cell(inputs)
print(outputs.shape)  # (1, 10, 16)
print(_status.shape)  # (4, 1, 8)
