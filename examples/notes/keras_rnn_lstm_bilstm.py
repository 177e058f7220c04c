"""The first note's cells: Keras's Sequential, SimpleRNN, LSTM, Bidirectional, on this package.

Edits: `keras.` and `tensorflow.keras.` became `tinygrad_rnn.`; `tf.keras.initializers` became `initializers`; the bare
expression of cell 2 is printed; imports (cells 1 and 3) stand at the head; the note's comments are left out; format calls
are f-strings; some results have a second name, for the tests. Beside each number stands what the note shows where it fixes
it; what comes from random weights differs from run to run, there as here.
"""

import pprint

import numpy as np

from tinygrad_rnn import initializers
from tinygrad_rnn.layers import LSTM, Bidirectional, Dense, Embedding, SimpleRNN
from tinygrad_rnn.models import Sequential

# In [1]

vocab_size = 5000
embedding_dim = 100
hidden_size = 128

model = Sequential()
model.add(Embedding(vocab_size, embedding_dim))
model.add(SimpleRNN(hidden_size))
model.add(Dense(1, activation="sigmoid"))
model.summary()  # 500,000 / 29,312 / 129, total 529,441

# In [2]
print(5000 * 100 + 100 * 128 + 128 * 128 + 128 + 128 + 1)  # 529441

# In [4]
train_X = [[0.1, 4.2, 1.5, 1.1, 2.8], [1.0, 3.1, 2.5, 0.7, 1.1], [0.3, 2.1, 1.5, 2.1, 0.1], [2.2, 1.4, 0.5, 0.9, 1.1]]
pprint.pprint(train_X)
print(np.shape(train_X))
print("5개의 단어 벡터를 사용한 4번의 기록(시점)")

# In [5]
train_X = [[[0.1, 4.2, 1.5, 1.1, 2.8], [1.0, 3.1, 2.5, 0.7, 1.1], [0.3, 2.1, 1.5, 2.1, 0.1], [2.2, 1.4, 0.5, 0.9, 1.1]]]
train_X = np.array(train_X, dtype=np.float32)
print(train_X.shape)

# In [6]
rnn = SimpleRNN(3)
hidden_state = last_only = rnn(train_X)

print(f"hidden state : {hidden_state}, shape: {hidden_state.shape}")

# In [7]
rnn = SimpleRNN(3, return_sequences=True)
hidden_states = every_step = rnn(train_X)

print(f"hidden states \n: {hidden_states}, shape: {hidden_states.shape}")

# In [8]
rnn = SimpleRNN(3, return_sequences=False, return_state=True)
hidden_state, last_state = rnn_with_state = rnn(train_X)

print(f"hidden state : {hidden_state}, shape: {hidden_state.shape}")
print(f"last hidden state : {last_state}, shape: {last_state.shape}")

print("두 개의 출력 모두 마지막 시점의 은닉 상태를 출력하게 됩니다.")

# In [9]
lstm = LSTM(3, return_sequences=False, return_state=True)
hidden_state, last_state, last_cell_state = lstm_with_state = lstm(train_X)

print(f"hidden state : {hidden_state}, shape: {hidden_state.shape}")
print(f"last hidden state : {last_state}, shape: {last_state.shape}")
print(f"last cell state : {last_cell_state}, shape: {last_cell_state.shape}")

# In [10]
k_init = initializers.Constant(value=0.1)
b_init = initializers.Constant(value=0)
r_init = initializers.Constant(value=0.1)

# In [11]: 0.6303138 three times, 0.7038734 three times
bilstm = Bidirectional(
    LSTM(
        3,
        return_sequences=False,
        return_state=True,
        kernel_initializer=k_init,
        bias_initializer=b_init,
        recurrent_initializer=r_init,
    )
)
hidden_states, forward_h, forward_c, backward_h, backward_c = bilstm_last = bilstm(train_X)

print(f"hidden states : {hidden_states}, shape: {hidden_states.shape}")
print(f"forward state : {forward_h}, shape: {forward_h.shape}")
print(f"backward state : {backward_h}, shape: {backward_h.shape}")

# In [12]: 0.35906473 … 0.6303138 downwards, 0.21942244 … 0.7038734 upwards
bilstm = Bidirectional(
    LSTM(
        3,
        return_sequences=True,
        return_state=True,
        kernel_initializer=k_init,
        bias_initializer=b_init,
        recurrent_initializer=r_init,
    )
)
hidden_states, forward_h, forward_c, backward_h, backward_c = bilstm_sequences = bilstm(train_X)

print(f"hidden states : {hidden_states}, shape: {hidden_states.shape}")
print(f"forward state : {forward_h}, shape: {forward_h.shape}")
print(f"backward state : {backward_h}, shape: {backward_h.shape}")
