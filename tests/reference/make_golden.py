"""Make the golden files of this folder with the real libraries.

Usage: python tests/reference/make_golden.py {tf1,keras,torch,optim,training,check}

tf1 needs tensorflow-cpu and tf_keras, keras needs tensorflow-cpu (Keras 3 comes with it), torch, optim and training need torch,
check (which reads every file and holds it to its promises) needs NumPy alone.
"""

from __future__ import annotations

import argparse
import os


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the golden files of this folder with the real libraries.")
    parser.add_argument("what", choices=["tf1", "keras", "torch", "optim", "training", "check"])
    what = parser.parse_args().what
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    if what == "tf1":
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import golden_tf1 as maker
    elif what == "keras":
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import golden_keras as maker
    elif what == "torch":
        import golden_torch as maker
    elif what == "optim":
        import golden_optim as maker
    elif what == "training":
        import golden_training as maker
    else:
        import golden_check as maker
    maker.main()


if __name__ == "__main__":
    main()
