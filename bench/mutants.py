"""Which numbers in the rules of operators no test sees: each changed by one in turn, and the table of rules asked again.

Run as ``python -m bench.mutants``. A changed module and all that hangs on it are run anew in this process, with tables of
rules of their own. A number that can change unseen is a survivor, unless it is listed below with the reason why nothing
can see it; a survivor, or a listed one that is seen or is gone, ends the run with exit code 1.
"""

import ast
import importlib
import sys
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import fxcost.ops
from tests.table.entries import Entry
from tests.table.table import ENTRIES, fault

FOLDER = Path(fxcost.ops.__file__).parent
KEPT = "fxcost.ops.kernels"
"""Has no numbers of rules, and its operators can be defined once in a process."""


@dataclass(frozen=True)
class Mutant:
    """One number of a file, and the line as it reads with one more or one less."""

    file: str
    line: int
    column: int
    value: float
    changed: float
    within: str
    """The function, constant or statement that holds it."""
    becomes: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.value} in {self.within}: {self.becomes}"


ONE_TENSOR = "the operators take one tensor, which is the first and the last"
ONE_OUTPUT = "the last of one output is the first"
NO_LETTER = "any character that is no letter of an equation serves"
MIN_OF_ONE = "the least of one number is that number: the value is the same"
ORDERS_ALIKE = "a norm of order 1 costs what one of order 2 does"
EQUIVALENT: Mapping[tuple[str, str], str] = {
    ("matrix/contractions.py", "return cuts[0] if len(cuts) == 0 else apply(sympy.Min, *cuts)"): MIN_OF_ONE,
    ("matrix/contractions.py", "return cuts[-1] if len(cuts) == 1 else apply(sympy.Min, *cuts)"): MIN_OF_ONE,
    ("matrix/contractions.py", "matrices[0] = [sympy.Integer(1), *matrices[1]]  # a vector first is a row,"): "a vector is as long as the matrix that it meets is high",
    ("matrix/einsum.py", 'dots = "".join(chr(257 + i) for i in range(max(lengths)))'): NO_LETTER,
    ("matrix/einsum.py", 'dots = "".join(chr(255 + i) for i in range(max(lengths)))'): NO_LETTER,
    ("rules.py", "return OUTPUTS[argument][-1] if len(OUTPUTS[argument]) == 1 else OUTPUTS[argument]"): ONE_OUTPUT,
    ("rules.py", 'register(Rule(f"{factor} per input", reason, vector=lambda call: factor * call.tensors[-1][1].elements), *operators)'): ONE_TENSOR,
    ("vector/complex_numbers.py", "return PARTS * call.tensors[-1][1].elements"): ONE_TENSOR,
    ("vector/complex_numbers.py", "return PARTS * (call.tensors[-1][1].elements + call.output.elements)"): ONE_TENSOR,
    ("vector/distances.py", 'given = next((call[name] for name in ("ord", "p", "pow") if name in call.arguments), 1)'): ORDERS_ALIKE,
    ("vector/distances.py", 'return 1 if given is None or given == "fro" else given'): ORDERS_ALIKE,
    ("vector/distances.py", 'axes = len(call["self"].shape) if dims is None else 0 if isinstance(dims, int) else len(dims)'): "it is only asked whether there are two axes",
    ("vector/distances.py", "return of_norm(_order(call)) * call.tensors[-1][1].elements"): ONE_TENSOR,
    ("vector/normalization.py", "return 4 * call.tensors[-1][1].elements + 2 * call.output.elements"): ONE_TENSOR,
    ("vector/normalization.py", "return call.tensors[-1][1].elements + call.output.elements"): ONE_TENSOR,
    ("vector/normalization.py", "source, target, dims = call.tensors[-1][1].shape, call.output.shape, _spatial_dims(call)"): ONE_TENSOR,
    ("vector/normalization.py", "shared = (apply(sympy.ceiling, i * size / count) - apply(sympy.floor, i * size / count) for i in range(0, count))"): "the first window begins at 0, which it shares with none",
    ("vector/upsampling.py", "return list(zip(call.tensors[-1][1].shape[-2:], call.output.shape[-2:], strict=True))"): ONE_TENSOR,
    ("vector/upsampling.py", "scale = Fraction(*steps) if steps[1] else Fraction(-1)"): "a window half a pixel before the border reaches as many whole pixels as one on it",
}  # fmt: skip
"""Why nothing can see a change, by the file and the changed line."""


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Two mutants for each number in the source."""
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        for node, value in _numbers(statement):
            line = lines[node.lineno - 1].encode()  # columns are of bytes
            before, after = line[: node.col_offset], line[node.end_col_offset :]
            for number in (value + 1, value - 1):
                becomes = (before + str(number).encode() + after).decode().strip()
                yield Mutant(file, node.lineno, node.col_offset, value, number, _name(statement), becomes)


def _numbers(tree: ast.AST) -> Iterator[tuple[ast.Constant, float]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            yield node, node.value


def _name(statement: ast.stmt) -> str:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return statement.name
    return " ".join(ast.unparse(statement).split())[:60]


def changed(source: str, mutant: Mutant) -> ast.Module:
    """The source as a tree, with the mutant in it."""
    tree = ast.parse(source)
    for node, _ in _numbers(tree):
        if (node.lineno, node.col_offset) == (mutant.line, mutant.column):
            node.value = mutant.changed
    return tree


class _Changed(MetaPathFinder, Loader):
    """Finds one module, of a tree of ours."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        return ModuleSpec(fullname, self, origin=str(self.path)) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)  # noqa: S102


@contextmanager
def rules_with(file: str, tree: ast.Module) -> Generator[ModuleType]:
    """``fxcost.ops.rules`` of a package where one file reads otherwise; fxcost's own is back afterwards."""
    own = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_of_rules(name)}
    name = "fxcost.ops." + file.removesuffix(".py").replace("/", ".")
    finder = _Changed(name, FOLDER / file, tree)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("fxcost.ops")
        yield sys.modules["fxcost.ops.rules"]
    finally:
        sys.meta_path.remove(finder)
        for each in filter(_is_of_rules, list(sys.modules)):
            del sys.modules[each]
        sys.modules.update(own)
        fxcost.ops = own["fxcost.ops"]  # the attribute of the package above


def _is_of_rules(name: str) -> bool:
    return (name == "fxcost.ops" or name.startswith("fxcost.ops.")) and name != KEPT


def seen_by(mutant: Mutant, source: str, entries: Sequence[Entry]) -> Entry | None:
    """The first entry that the changed rules miss, or that they cannot answer."""
    try:
        with rules_with(mutant.file, changed(source, mutant)) as rules:
            for entry in entries:
                if _misses(entry, rules):
                    return entry
    except Exception:  # a change that does not even load is seen by all
        return entries[0]
    return None


def _misses(entry: Entry, rules: ModuleType) -> bool:
    try:
        return bool(fault(entry, rules))
    except Exception:
        return True


def unseen(sources: Mapping[str, str], entries: Sequence[Entry]) -> tuple[list[Mutant], int]:
    """The mutants of all sources that no entry sees, and how many there are in all."""
    mutants = [mutant for file, source in sources.items() for mutant in mutants_of(file, source)]
    left: list[Mutant] = []
    order = list(entries)
    for index, mutant in enumerate(mutants, start=1):
        print(f"\r{index}/{len(mutants)} {mutant.file}, {len(left)} unseen", end="", file=sys.stderr, flush=True)
        entry = seen_by(mutant, sources[mutant.file], order)
        if entry is None:
            left.append(mutant)
        else:  # what sees one number of a rule often sees the next
            order.remove(entry)
            order.insert(0, entry)
    print(file=sys.stderr)
    return left, len(mutants)


def verdict(left: Sequence[Mutant], equivalent: Mapping[tuple[str, str], str]) -> list[str]:
    """What is wrong: survivors without a reason, and reasons without a survivor."""
    survivors = [f"unseen: {mutant}" for mutant in left if (mutant.file, mutant.becomes) not in equivalent]
    found = {(mutant.file, mutant.becomes) for mutant in left}
    return survivors + [
        f"listed as equivalent, but seen or gone: {file}: {line}"
        for file, line in equivalent
        if (file, line) not in found
    ]


def sources() -> dict[str, str]:
    """The files of rules, by their names in the folder."""
    paths = sorted(path for path in FOLDER.rglob("*.py") if path.name not in ("__init__.py", "kernels.py"))
    return {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def main() -> None:
    """Change every number, and say which changes go unseen."""
    warnings.simplefilter("ignore")
    wrong = [text for text in map(fault, ENTRIES) if text]
    if wrong:
        sys.exit("\n".join(["the table does not hold unchanged:", *wrong]))
    left, count = unseen(sources(), ENTRIES)
    print(f"{count} changes, {count - len(left)} seen, {len(EQUIVALENT)} listed as equivalent")
    faults = verdict(left, EQUIVALENT)
    print(*faults, sep="\n", end="\n" * bool(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
