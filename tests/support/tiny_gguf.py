"""A tiny Llama as a GGUF file, written with the gguf package as llama.cpp's converter does."""

import numpy as np


def rotated(weight, heads):
    """Rows of a query or key matrix in GGUF's order, whose rotary pairs are neighbours."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


WORDS = ["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "abc"]


def write_gguf(path, model, *, quantised=False):
    """Write a tied Llama of transformers whose vocabulary is that of `WORDS`; matrices as Q8_0 if asked for."""
    import gguf

    config, state = model.config, {name: value.detach().numpy() for name, value in model.state_dict().items()}
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(WORDS) - 3))
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)

    def add(name, value, heads=None):
        value = np.ascontiguousarray(value if heads is None else rotated(value, heads), dtype=np.float32)
        if quantised and value.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value)

    add("token_embd.weight", state["model.embed_tokens.weight"])
    add("output_norm.weight", state["model.norm.weight"])
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"blk.{layer}", f"model.layers.{layer}"
        add(f"{theirs}.attn_norm.weight", state[f"{ours}.input_layernorm.weight"])
        add(f"{theirs}.ffn_norm.weight", state[f"{ours}.post_attention_layernorm.weight"])
        add(f"{theirs}.attn_q.weight", state[f"{ours}.self_attn.q_proj.weight"], config.num_attention_heads)
        add(f"{theirs}.attn_k.weight", state[f"{ours}.self_attn.k_proj.weight"], config.num_key_value_heads)
        add(f"{theirs}.attn_v.weight", state[f"{ours}.self_attn.v_proj.weight"])
        add(f"{theirs}.attn_output.weight", state[f"{ours}.self_attn.o_proj.weight"])
        for part in ("gate", "up", "down"):
            add(f"{theirs}.ffn_{part}.weight", state[f"{ours}.mlp.{part}_proj.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
