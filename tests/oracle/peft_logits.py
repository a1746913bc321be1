#!/usr/bin/env python3
"""Logits of a Hugging Face model with a PEFT adapter over it, as PEFT itself computes them.

    python peft_logits.py BASE ADAPTER TOKENS.json OUT.f32

TOKENS.json: one list of token numbers. OUT.f32: little-endian f32 logits, [tokens, vocabulary]. Float32, eager attention.
Called by the unit test `peft_computes_what_we_do_with_an_exported_adapter` where CAUSERIE_PYTHON names an interpreter that
has torch, transformers and peft.
"""
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

base, adapter, tokens, out = sys.argv[1:5]
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
model = PeftModel.from_pretrained(model, adapter).eval()
ids = torch.tensor([json.load(open(tokens))])
with torch.no_grad():
    logits = model(ids).logits[0].contiguous()
with open(out, "wb") as file:
    file.write(logits.numpy().astype("<f4").tobytes())
