"""Predict with a number of processes: DEVICES FOLDER INPUTS GALLERY [STORE]."""

import sys

import pytorch_lightning as pl
import torch
from stub_method import LitStub, table

from vision_suite.callbacks.predict.pictures import PredictionWriter
from vision_suite.datasets.reid.data import ReIDData

if __name__ == "__main__":
    devices, folder, inputs, gallery, *store = sys.argv[1:]
    data = ReIDData(
        image_size=(16, 16), eval_batch_size=2, num_workers=0, predict_inputs=inputs, predict_gallery=gallery,
        gallery_store=store[0] if store else None, on_bad_image="skip",
    )  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu", devices=int(devices), strategy="ddp" if devices != "1" else "auto", logger=False,
        default_root_dir=folder, enable_progress_bar=False, use_distributed_sampler=False,
        callbacks=[PredictionWriter()],
    )  # fmt: skip
    torch.manual_seed(0)  # a gallery on disk is of one network
    trainer.predict(LitStub(table(11)), data, return_predictions=False)
