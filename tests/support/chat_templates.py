"""Small equivalents of chat templates in use, and small tokenizers with their special tokens."""

from typing import Any

TEXT = (
    "You are a helpful assistant. You are a helpful AI assistant named SmolLM, trained by Hugging Face. system user "
    "What is shown? Red. Sure? Yes. Be brief. A dog and a cat sit on a mat, next to the 12 red balls. The sky is blue. "
)

SMOLLM = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

LLAMA3 = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{{ '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

# Alternating turns, the system text before the first user's one, no header for the assistant, a blank before answers.
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set lead = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set lead = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + (lead if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)

# Thinking: the last answer has a block that earlier ones lose.
QWEN3 = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% if message.role == 'assistant' %}"
    "{% set content = message.content.split('</think>')[-1].lstrip('\n') %}"
    "{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ content }}"
    "{% else %}{{ message.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)

# A vision-language model's: contents are lists of parts.
LLAVA = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}{% for part in message['content'] | "
    "selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SPECIALS = {
    "smollm": (SMOLLM, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>"]),
    "llama3": (
        LLAMA3,
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|reserved_special_token_0|>"],
    ),
    "mistral": (MISTRAL, ["<unk>", "<s>", "</s>"]),
    "qwen3": (QWEN3, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>"]),
    "llava": (LLAVA, ["<pad>", "<|im_start|>", "<|im_end|>", "<image>"]),
}
ENDS = {"smollm": "<|im_end|>", "llama3": "<|eot_id|>", "mistral": "</s>", "qwen3": "<|im_end|>", "llava": "<|im_end|>"}
BEGINS = {"smollm": "<|im_start|>", "llama3": "<|begin_of_text|>", "mistral": "<s>"}


def bpe_tokenizer(shape: str) -> Any:
    """A trained BPE tokenizer, of bytes, or for ``mistral`` of characters with a blank put before the text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    template, specials = SPECIALS[shape]
    backend = Tokenizer(models.BPE())
    if shape == "mistral":
        backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        backend.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=["\n", "[", "]", "/"])
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=specials, initial_alphabet=alphabet)
    # SentencePiece learns from words and then cuts whole texts.
    backend.pre_tokenizer = (
        pre_tokenizers.Metaspace(prepend_scheme="first") if shape == "mistral" else backend.pre_tokenizer
    )
    backend.train_from_iterator([TEXT * 3, TEXT.replace(" ", "\n"), "[INST] a [/INST] b"], trainer)
    if shape == "mistral":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=ENDS[shape], bos_token=BEGINS.get(shape), chat_template=template
    )
