"""What ``llm.llama_cpp_model`` calls of the package llama_cpp, by torch and a list of cells: its documented
behaviour, for machines that do not have it."""

import ctypes
from types import SimpleNamespace

import numpy as np
import torch
from transformers import AutoModelForCausalLM


class Double:
    """Cells are ``[token, position, set of sequences]``; a decode reads what a token's sequence holds."""

    GGML_TYPE_F32, GGML_TYPE_F16, LLAMA_FLASH_ATTN_TYPE_DISABLED = 0, 1, 0

    def __init__(self, folder, cells):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.limit, self.cells, self.decoded = cells, [], []

    def llama_backend_init(self): ...

    def llama_model_default_params(self):
        return SimpleNamespace()

    llama_context_default_params = llama_model_default_params

    def llama_model_load_from_file(self, path, options):
        return b"gguf" in path and "model"

    def llama_init_from_model(self, model, options):
        return "context"

    def llama_get_memory(self, context):
        return "memory"

    def llama_model_get_vocab(self, model):
        return "vocabulary"

    def llama_vocab_n_tokens(self, vocabulary):
        return self.model.config.vocab_size

    def llama_model_n_params(self, model):
        return sum(p.numel() for p in self.model.parameters())

    def llama_batch_init(self, n, embeddings, sequences):
        columns = {name: [0] * n for name in ("token", "pos", "n_seq_id", "logits")}
        return SimpleNamespace(n_tokens=0, seq_id=[[0] for _ in range(n)], **columns)

    def llama_batch_free(self, batch): ...

    llama_free = llama_model_free = llama_batch_free

    def llama_memory_seq_cp(self, memory, source, target, begin, end):
        for cell in self.cells:
            cell[2] |= {target} if source in cell[2] else set()

    def llama_memory_seq_rm(self, memory, number, begin, end):
        for cell in self.cells:
            cell[2].discard(number)
        self.cells = [cell for cell in self.cells if cell[2]]

    def llama_decode(self, context, batch):
        n = batch.n_tokens
        if len(self.cells) + n > self.limit:
            return 1
        rows = []
        for i in range(n):
            own = batch.seq_id[i][0]
            known = sum(own in cell[2] for cell in self.cells)
            if known != batch.pos[i] or batch.n_seq_id[i] != 1:
                return -1  # positions of a sequence have no gap
            self.cells.append([batch.token[i], batch.pos[i], {own}])
            if batch.logits[i]:
                seen = sorted((c[1], c[0]) for c in self.cells if own in c[2])
                with torch.inference_mode():
                    rows.append(self.model(torch.tensor([[t for _, t in seen]])).logits[0, -1].numpy())
        self.decoded.append(n)
        self.rows = np.ascontiguousarray(np.stack(rows), dtype=np.float32)
        return 0

    def llama_get_logits(self, context):
        return self.rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
