"""The second note's cells: what a recurrent net does in NumPy, and Keras's Sequential, on this package.

Edits: `keras.` became `tinygrad_rnn.`; `K.clear_session()` is dropped, there is no session (names are numbered in each
model anew). The pseudocode of listing 6.19 has an f and an input_sequence, so that it runs. Typos of the NumPy cell, which
the note shows twice: `np.zeros(output_features,))` had one bracket too many; `succeesive_outputs` was spelled in two ways;
the loop's lines were indented by tabs and blanks; `np.concatenate` of vectors gives one long vector (6400,), the comment says
(100, 64), which `np.stack` gives. Imports stand at the head, and the
second model and the third have names of their own, for the tests.
"""

import numpy as np

from tinygrad_rnn.layers import Dense, Embedding, SimpleRNN
from tinygrad_rnn.models import Sequential

# Listing 6.19: pseudocode
input_sequence = [1.0, 2.0, 3.0]


def f(input_t, state_t):
    return input_t + 0.5 * state_t


state_t = 0
for input_t in input_sequence:
    output_t = f(input_t, state_t)
    state_t = output_t

pseudocode_state = state_t

# NumPy

timesteps = 100
input_features = 32
output_features = 64

inputs = np.random.random((timesteps, input_features))  # input data

state_t = np.zeros((output_features,))  # initial state : an all-zero vector, (64,)

W = np.random.random((output_features, input_features))  # (64,32)
U = np.random.random((output_features, output_features))  # (64,64)
b = np.random.random((output_features,))  # (64,)

successive_outputs = []

for input_t in inputs:
    output_t = np.tanh(np.dot(W, input_t) + np.dot(U, state_t) + b)
    successive_outputs.append(output_t)
    state_t = output_t

final_output_sequences = np.stack(successive_outputs, axis=0)
print(final_output_sequences.shape)  # (100, 64) = (timesteps, output_features)

# Keras

model = Sequential()
model.add(Embedding(10000, 32))
model.add(SimpleRNN(32))
model.summary()  # 320,000 and 2,080 = 32 x 32 + 32 x 32 + 32

model_of_sequences = model = Sequential()
model.add(Embedding(10000, 32))
model.add(SimpleRNN(32, return_sequences=True))
model.summary()

model_with_dense = model = Sequential()
model.add(Embedding(10000, 32))
model.add(SimpleRNN(32))
model.add(Dense(1, activation="sigmoid"))
