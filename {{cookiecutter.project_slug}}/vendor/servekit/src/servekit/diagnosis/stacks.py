"""Sampled stacks of one or several workers: read, added up, and written for other tools."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from servekit.own_code import kind_of, shown

IDLE = "(idle)"
HELD = "(interpreter held)"
FREE = "(interpreter free)"
TASKS = "(tasks)"
WAITS = "(waits)"
HOLDS = "(holds a "
"""What the name begins with that stands behind what is awaited; see `monitors.wait_sampler`."""
FRAME = re.compile(r"(?P<name>.*) \((?P<file>.*):(?P<line>\d+)\)")


@dataclass(frozen=True)
class Frame:
    """A function, and where it begins; the innermost own one at the line that was seen."""

    name: str
    file: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """Return `file:line`, from this folder on if it is below it; nothing without a file."""
        return shown(self.file, self.line) if self.file else ""

    @property
    def kind(self) -> str:
        """Return whose code it is: `own`, `servekit`, `library`, `python` or `idle`."""
        if not self.file:
            return "idle" if self.name == IDLE else "python"
        return kind_of(self.file)


@dataclass
class Node:
    """A function below those that called it, with the samples that saw it there."""

    frame: Frame
    count: int = 0
    children: dict[Frame, Node] = field(default_factory=dict)


@dataclass
class Profile:
    """What several workers were seen doing, in samples; stacks are outermost first."""

    stacks: Counter[tuple[Frame, ...]] = field(default_factory=Counter)
    held: Counter[tuple[Frame, ...]] = field(default_factory=Counter)
    """Samples in which another thread held the interpreter, by its stack."""
    free: int = 0
    """Samples in which other threads computed and the interpreter was free."""
    tasks: Counter[Frame] = field(default_factory=Counter)
    """How many tasks there were at the end, by their coroutine."""
    waits: Counter[tuple[Frame, ...]] = field(default_factory=Counter)
    """Milliseconds that requests waited, by their route and below it where."""

    def add(self, collapsed: str) -> None:
        """Add lines of `outer;inner count`."""
        for line in collapsed.splitlines():
            stack, _, count = line.rpartition(" ")
            outermost, *inner = map(read_frame, stack.split(";"))
            if outermost.name == HELD:
                self.held[tuple(inner)] += int(count)
            elif outermost.name == FREE:
                self.free += int(count)
            elif outermost.name == WAITS:
                self.waits[tuple(inner)] += int(count)
            elif outermost.name == TASKS:
                self.tasks[inner[0]] += int(count)
            else:
                self.stacks[outermost, *inner] += int(count)

    @property
    def samples(self) -> int:
        """Return how many samples there are, idle ones included."""
        return self.stacks.total()

    @property
    def idle(self) -> int:
        """Return how many of them saw a loop with nothing to do."""
        return self.stacks[(Frame(IDLE),)]

    def tree(self, name: str = "event loop") -> Node:
        """Return the stacks as a tree, from where they part; idle time is left out."""
        busy = {stack: count for stack, count in self.stacks.items() if stack != (Frame(IDLE),)}
        shared = common(list(busy))
        root = Node(Frame(name))
        for stack, count in busy.items():
            node = root
            node.count += count
            for frame in stack[shared:]:
                node = node.children.setdefault(frame, Node(frame))
                node.count += count
        return root

    def innermost(self) -> Counter[Frame]:
        """Return the samples by the function that ran, or by what was awaited."""
        found: Counter[Frame] = Counter()
        for stack, count in self.stacks.items():
            found[next(one for one in stack[::-1] if not one.name.startswith(HOLDS))] += count
        return found

    def own_lines(self) -> Counter[Frame]:
        """Return the samples by the innermost line of the service's own code."""
        return own_lines(self.stacks)

    def collapsed(self) -> str:
        """Return `outer;inner count` lines, as flame-graph tools read them."""
        counts = Counter(self.stacks)
        counts.update({(Frame(HELD), *stack): count for stack, count in self.held.items()})
        counts.update({(Frame(TASKS), frame): count for frame, count in self.tasks.items()})
        counts.update({(Frame(WAITS), *stack): count for stack, count in self.waits.items()})
        if self.free:
            counts[(Frame(FREE),)] = self.free
        return "".join(f"{';'.join(map(written, stack))} {n}\n" for stack, n in counts.items())

    def speedscope(self) -> dict[str, Any]:
        """Return the document that https://www.speedscope.app reads."""
        used = dict.fromkeys(frame for stack in self.stacks for frame in stack)
        numbers = {frame: number for number, frame in enumerate(used)}
        frames = [{"name": each.name, "file": each.file, "line": each.line} for each in used]
        profile = {
            "type": "sampled",
            "name": "event loops",
            "unit": "none",
            "startValue": 0,
            "endValue": self.samples,
            "samples": [[numbers[frame] for frame in stack] for stack in self.stacks],
            "weights": list(self.stacks.values()),
        }
        return {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "shared": {"frames": frames},
            "profiles": [profile],
        }


def own_lines(stacks: Counter[tuple[Frame, ...]]) -> Counter[Frame]:
    """Return samples by the innermost line of the service's own code."""
    found: Counter[Frame] = Counter()
    for stack, count in stacks.items():
        own = own_frame(stack)
        if own is not None:
            found[own] += count
    return found


def by_function(lines: Counter[Frame]) -> Counter[Frame]:
    """Add samples up by function; each stands at the line that was seen most."""
    return Counter({frame: count for (frame,), count in by_functions(alone(lines)).items()})


def alone(lines: Counter[Frame]) -> Counter[tuple[Frame, ...]]:
    """Return lines as ways of one function each."""
    return Counter({(frame,): count for frame, count in lines.items()})


def by_functions(ways: Counter[tuple[Frame, ...]]) -> Counter[tuple[Frame, ...]]:
    """Add samples up by the functions of a way; each stands at the lines that were seen most."""
    found: defaultdict[tuple[Any, ...], Counter[tuple[Frame, ...]]] = defaultdict(Counter)
    for way, count in ways.items():
        found[tuple((frame.name, frame.file) for frame in way)][way] += count
    return Counter({seen.most_common(1)[0][0]: seen.total() for seen in found.values()})


def own_frame(stack: tuple[Frame, ...]) -> Frame | None:
    """Return the innermost function of the service's own code."""
    return next((frame for frame in reversed(stack) if frame.kind == "own"), None)


def common(stacks: list[tuple[Frame, ...]]) -> int:
    """Return how many outermost frames of libraries all stacks share, no innermost among them."""
    if not stacks:
        return 0
    first, last = min(stacks, key=places), max(stacks, key=places)
    pairs = zip(first, last, strict=False)
    trunk = (n for n, (a, b) in enumerate(pairs) if a != b or a.kind == "own" or not a.file)
    parted = next(trunk, len(first))
    return min(parted, min(map(len, stacks)) - 1)


def places(stack: tuple[Frame, ...]) -> list[tuple[str, str, int]]:
    """Return what stacks are sorted by."""
    return [(frame.name, frame.file, frame.line) for frame in stack]


def read_frame(text: str) -> Frame:
    """Return a frame as a collapsed stack has it: `name (file:line)`, or a bare name."""
    match = FRAME.fullmatch(text)
    return Frame(match["name"], match["file"], int(match["line"])) if match else Frame(text)


def written(frame: Frame) -> str:
    """Return a frame as a collapsed stack has it."""
    return f"{frame.name} ({frame.file}:{frame.line})" if frame.file else frame.name
