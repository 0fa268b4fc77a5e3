"""Start commands fast: import what they need once, then fork a process for each.

Run as a script with a folder as its argument; tiny models are written there. One JSON object per line on stdin:

    {"argv": [...], "cwd": ..., "log": ..., "setup": python source}   answers with the new process's id
    {"wait": pid}                                                     answers with its exit status (-9: killed)

Each command is a process of its own, so it can be killed like one that was started from a shell.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import diffusers  # noqa: F401
import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from guidebench.cli import gallery, main, plan, run, table  # noqa: F401
from guidebench.data.scenes import SceneBench

CONTEXT = 16


def write_models(folder: Path) -> None:
    """A text-to-image model for 64 x 64 pixels and two CLIPs, with random weights, in their public layouts."""
    torch.manual_seed(0)
    words = sorted({word for case in SceneBench().cases() for word in case.prompt.split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<bos>", *words, "<eos>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[(w, vocabulary[w]) for w in ("<bos>", "<eos>")]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=CONTEXT,
    )
    root = folder / "text_to_image"
    fast.save_pretrained(root / "tokenizer")
    UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ).save_pretrained(root / "unet")
    AutoencoderKL(
        sample_size=64,
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    ).save_pretrained(root / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=CONTEXT,
            eos_token_id=vocabulary["<eos>"],
        )
    ).save_pretrained(root / "text_encoder")
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        root / "scheduler"
    )
    for name, side in (("clip_guide", 32), ("clip_score", 64)):
        clip = folder / name
        fast.save_pretrained(clip / "tokenizer")
        text = {
            "context_length": CONTEXT,
            "vocab_size": len(vocabulary),
            "width": 16,
            "heads": 2,
            "layers": 1,
        }
        vision = {"image_size": side, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
        config = {
            "model_cfg": {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text},
            "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3},
        }
        (clip / "open_clip_config.json").write_text(json.dumps(config))
        module = open_clip.create_model(f"local-dir:{clip}", load_weights=False)
        save_file(module.state_dict(), clip / "open_clip_model.safetensors")


def command(request: dict) -> int:
    """In the forked process: run one command, its output into a file."""
    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(request["env"])
    try:
        exec(compile(request["setup"], "<setup>", "exec"), {})
        return main.main(request["argv"])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def fork(action) -> int:
    """Process id of a child that ends with the status that `action` returns."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            status = action()
        finally:
            os._exit(status)
    return pid


def serve() -> None:
    """Answer requests until stdin closes."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = fork(lambda request=request: command(request))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    weights = Path(sys.argv[1])
    built = fork(lambda: write_models(weights) or 0)  # no tensor is ever computed in this process
    assert os.waitpid(built, 0)[1] == 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve()
