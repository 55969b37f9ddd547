"""A step of decoding on the command line and in files: what is printed, saved and refused."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fxcost.costs.files.saved import load, save
from fxcost.errors import FxcostError

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def saved(decoded: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "gemma3.json"
    save(decoded("gemma3"), path)
    return path


def test_the_cache_comes_back_from_a_file(saved: Path, decoded: Callable[[str], Any]) -> None:
    again, model = load(saved), decoded("gemma3")
    for field in fields(model):
        assert getattr(again, field.name) == getattr(model, field.name), field.name
    assert again.state is not None
    assert again.at(B=2, P=20).state == model.at(B=2, P=20).state


def test_a_file_from_before_there_was_a_cache_still_loads(saved: Path, tmp_path: Path) -> None:
    document = json.loads(saved.read_text())
    del document["state"]
    (tmp_path / "older.json").write_text(json.dumps(document))
    assert load(tmp_path / "older.json").state is None


def test_a_hostile_cache_is_refused(saved: Path, tmp_path: Path) -> None:
    document = json.loads(saved.read_text())
    document["state"]["whole"]["float32"] = "__import__('os')"
    (tmp_path / "hostile.json").write_text(json.dumps(document))
    with pytest.raises(FxcostError, match=r"state\.whole\.float32"):
        load(tmp_path / "hostile.json")


# Two layers, each 2 heads of 16 numbers for keys and as many for values, in float32; one keeps 8 positions.
OF_A_TOKEN = 2 * 2 * (2 * 16) * 4
HELD = 3 * (8 + 21) * 2 * (2 * 16) * 4


def test_trace_prints_the_cache(saved: Path, fxcost_command: Command) -> None:
    code, printed, _ = fxcost_command("trace", saved, "--at", "B=3,P=20")
    assert code == 0
    assert "(decode, float32)" in printed
    assert f"cache per token and sequence: {OF_A_TOKEN:,} B in float32; all of it {HELD / 1000:.3f} kB" in printed
    moved = HELD + 3 * OF_A_TOKEN  # read whole, and one position written
    assert f"{moved / 1000:.3f} kB cache state" in printed


def test_roles_in_csv_and_json(saved: Path, fxcost_command: Command) -> None:
    _, text, _ = fxcost_command("trace", saved, "--at", "B=3,P=20", "-f", "csv")
    *rows, total = csv.DictReader(
        io.StringIO("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    )
    assert sum(int(row["state_bytes_at"]) for row in rows) == int(total["state_bytes_at"]) == HELD + 3 * OF_A_TOKEN
    for row in rows:
        roles = sum(int(row[f"{role}_bytes_at"]) for role in ("weight", "state", "activation"))
        assert roles == int(row["bytes_moved_at"]) == int(row["bytes_read_at"]) + int(row["bytes_written_at"])
    _, text, _ = fxcost_command("trace", saved, "--at", "B=3,P=20", "-f", "json")
    facts = json.loads(text)
    assert (facts["cache_bytes_per_token"], facts["cache_bytes"]) == (OF_A_TOKEN, HELD)


def test_explain_names_the_cache(saved: Path, fxcost_command: Command) -> None:
    name = "model.layers.0.self_attn.scaled_dot_product_attention"
    _, printed, _ = fxcost_command("explain", saved, name, "--at", "B=3,P=20")
    assert "64·B·Min(8, P+1) float32 elements of cache state" in printed


def test_roofline_counts_tokens(saved: Path, fxcost_command: Command) -> None:
    _, printed, _ = fxcost_command("roofline", saved, "-p", "h100-sxm5-80gb", "--at", "B=3")
    assert "tokens/s" in printed
    _, printed, _ = fxcost_command("sweep", saved, "-p", "h100-sxm5-80gb", "--over", "P=1:64:*2")
    assert "tokens/s" in printed
    assert "samples" not in printed


def test_a_sweep_over_windows_traces_once_and_more_past_than_a_table_holds_is_left_out(
    fxcost_command: Command, configured: Callable[..., str]
) -> None:
    sweep = ("--mode", "decode", "-p", "h100-sxm5-80gb", "--precision", "fp16", "--over", "P=4,8,1023,1024")
    code, printed, said = fxcost_command("sweep", configured("mistral"), *sweep)
    assert (code, said) == (0, "")
    code, printed, said = fxcost_command("sweep", configured("gpt2"), *sweep, "-f", "csv")
    rows = list(
        csv.DictReader(io.StringIO("\n".join(line for line in printed.splitlines() if not line.startswith("#"))))
    )
    assert [row["P"] for row in rows] == ["4", "8", "1023"]
    assert "P=1024 left out" in said


def test_crossovers_of_sizes_that_are_tried(saved: Path, fxcost_command: Command) -> None:
    """Nothing is solved for sizes in between; the whole call is judged at the same sizes as its operations.

    Many sequences share the weights: without activations the small model is compute-bound, which one of them is not.
    """
    machine = ("-p", "h100-sxm5-80gb", "--at", "P=4")
    code, printed, _ = fxcost_command("crossover", saved, "-p", "h100-sxm5-80gb", "--over", "P=4,8")
    assert code == 0
    assert [line.split()[:2] for line in printed.splitlines() if line.startswith(" (")] == [
        ["(whole", "call)"],
        ["(weights", "and"],
    ]
    found: dict[str, list[str]] = {}
    for over in ("B", "B=1,4096,65536"):
        _, text, _ = fxcost_command("crossover", saved, *machine, "--over", over, "-f", "csv")
        for row in csv.DictReader(text.splitlines()):
            if row["layer"].startswith("("):
                found.setdefault(row["layer"], []).append(row["compute_bound_from"])
    assert len(found) == 2
    for solved, tried in found.values():
        first = next((size for size in (1, 4096, 65536) if solved and size >= int(solved)), "")
        assert tried == str(first)
    assert any(tried for _, tried in found.values())


def test_crossover_tells_of_the_whole_call(saved: Path, fxcost_command: Command) -> None:
    for over, at in (("B", "P=20"), ("P", "B=3")):
        code, printed, _ = fxcost_command("crossover", saved, "-p", "h100-sxm5-80gb", "--over", over, "--at", at)
        assert code == 0
        assert [line.split()[0:2] for line in printed.splitlines() if line.startswith(" (")] == [
            ["(whole", "call)"],
            ["(weights", "and"],
        ]
        assert "tried up to" not in printed  # a window bends the formulas, and they are still solved for every size


def test_a_model_that_does_not_decode_has_no_cache(small_model: Path, fxcost_command: Command) -> None:
    _, printed, _ = fxcost_command("trace", small_model)
    assert "cache" not in printed


def test_refusals(saved: Path, fxcost_command: Command, configured: Callable[..., str], tmp_path: Path) -> None:
    assert fxcost_command("trace", saved, "--mode", "decode")[::2] == (
        1,
        f"fxcost: --mode needs the model: {saved} holds formulas that were traced already",
    )
    code, _, said = fxcost_command("trace", configured("llama"), "--mode", "decode", "--input", "input_ids: int64[B,1]")
    assert (code, "leave the others out" in said) == (1, True)
    assert fxcost_command("trace", "resnet18", "--mode", "decode")[0] == 1
    assert "leave --mode out" in fxcost_command("verify", configured("llama"), "--mode", "decode")[2]
    program = tmp_path / "program.pt2"
    program.write_bytes(b"")
    code, _, said = fxcost_command("trace", program, "--mode", "decode")
    assert (code, "is an exported program, which --mode decode cannot run" in said) == (1, True)


def test_lock_and_check(fxcost_command: Command, configured: Callable[..., str], tmp_path: Path) -> None:
    """A locked step is traced again as a step; one with twice the heads kept has moved."""
    reference, lock = configured("llama"), tmp_path / "costs.lock.json"
    assert fxcost_command("lock", reference, "--mode", "decode", "-o", lock)[0] == 0
    assert fxcost_command("check", lock)[0] == 0
    path = Path(reference.removeprefix("hf:")) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_key_value_heads": 4}))
    code, printed, said = fxcost_command("check", lock)
    assert code == 4
    assert "moved" in said
    assert "scaled_dot_product_attention" in printed


def test_tokens_of_a_batch_that_is_held(fxcost_command: Command, configured: Callable[..., str]) -> None:
    """A step of 16 sequences gives 16 tokens, whether its formulas are in B or hold for 16 alone."""
    asked = ("--mode", "decode", "--at", "B=16,P=20", "-p", "h100-sxm5-80gb", "-f", "csv", "--over", "P=20")
    rates = [
        next(csv.DictReader(io.StringIO(fxcost_command("sweep", configured("llama"), *asked, *held)[1])))
        for held in ((), ("--symbolic", "P"))
    ]
    assert rates[0]["tokens_per_second"] == rates[1]["tokens_per_second"]
    assert float(rates[0]["tokens_per_second"]) * float(rates[0]["seconds"]) == pytest.approx(16)


def test_bytes_moved_beside_a_leaf_are_lower_bounds(fxcost_command: Command, configured: Callable[..., str]) -> None:
    asked = ("trace", configured("llama"), "--mode", "decode", "--at", "P=20", "--leaf", "model.layers.0.mlp")
    (moved,) = [line for line in fxcost_command(*asked)[1].splitlines() if line.startswith("moved: ")]
    assert moved.count("≥ ") == len(("weights", "cache state", "activations"))
