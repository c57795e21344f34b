"""Profiles of several workers are added up, and written so that other tools read the same."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from servekit.diagnosis.stacks import IDLE, Frame, Profile, alone, by_function
from servekit.diagnosis.ways import told_places

NAMES = st.sampled_from(["f", "A.g", "<module>", "h.<locals>.<lambda>", "f (x)", "a:b"])
FILES = st.sampled_from(
    ["/srv/app/src/orders.py", "/x/site-packages/lib.py", "/usr/lib/python3.13/json/decoder.py"]
)
FRAMES = st.builds(Frame, NAMES, FILES, st.integers(1, 999))
STACKS = st.lists(FRAMES, min_size=1, max_size=5).map(tuple)
COUNTS = st.dictionaries(STACKS | st.just((Frame(IDLE),)), st.integers(1, 9), max_size=8)


def profile_of(stacks) -> Profile:
    profile = Profile()
    profile.stacks.update(stacks)
    return profile


@given(COUNTS, COUNTS, st.integers(0, 9))
def test_what_is_written_collapsed_is_read_again_and_added_up(one, two, free):
    profile = Profile()
    tasks = Counter(dict.fromkeys((stack[0] for stack in two), 2))
    for stacks in (one, two):
        written = replace(profile_of(stacks), held=Counter(two), free=free, tasks=tasks)
        profile.add(written.collapsed())

    assert profile.stacks == profile_of(one).stacks + profile_of(two).stacks
    assert profile.held == Counter(two) + Counter(two)
    assert (profile.free, profile.tasks) == (2 * free, tasks + tasks)


@given(COUNTS)
def test_a_node_of_the_tree_has_the_samples_of_its_children_and_its_own(stacks):
    profile = profile_of(stacks)
    tree = profile.tree()
    assert tree.count == profile.samples - profile.idle

    nodes = [tree]
    while nodes:
        node = nodes.pop()
        assert node.count >= sum(child.count for child in node.children.values())
        nodes += node.children.values()


@given(COUNTS)
def test_speedscope_gets_every_sample_once(stacks):
    document = profile_of(stacks).speedscope()
    frames = document["shared"]["frames"]
    [profile] = document["profiles"]

    assert sum(profile["weights"]) == profile["endValue"] == sum(stacks.values())
    assert all(0 <= number < len(frames) for sample in profile["samples"] for number in sample)


def test_what_all_stacks_have_in_common_of_libraries_is_left_out_of_the_tree():
    outer = Frame("run", "/usr/lib/python3.13/asyncio/runners.py", 1)
    left, right = (Frame(name, "/a.py", 1) for name in ("left", "right"))
    tree = profile_of({(outer, left): 1, (outer, right): 2}).tree()
    assert set(tree.children) == {left, right}


@pytest.mark.parametrize("outermost", [Frame("/products/{id}"), Frame("read", "/a.py", 1)])
def test_the_only_route_and_the_only_function_of_a_service_stay_in_the_tree(outermost):
    tree = profile_of({(outermost, Frame("left", "/a.py", 2)): 1}).tree()
    assert set(tree.children) == {outermost}


def test_own_lines_are_the_innermost_of_the_services_code():
    own, library = Frame("pay", "/srv/orders.py", 3), Frame("dumps", "/x/site-packages/j.py", 1)
    python = Frame("iterencode", "/usr/lib/python3.13/json/encoder.py", 1)
    stacks = {(own, library, python): 4, (library,): 2, (Frame(IDLE),): 9}
    assert profile_of(stacks).own_lines() == {own: 4}


def test_a_service_in_a_folder_called_like_the_library_is_its_own_code():
    files = {
        "/srv/servekit/shop/orders.py": "own",
        "/srv/shop/vendor/servekit/chaos/app.py": "own",
        "/srv/shop/vendor/servekit/src/servekit/logs.py": "servekit",
        "/x/lib/python3.13/site-packages/servekit/logs.py": "servekit",
        "/x/lib/python3.13/site-packages/orjson/__init__.py": "library",
        "/usr/lib/python3.13/json/decoder.py": "python",
    }
    assert {file: Frame("f", file, 1).kind for file in files} == files


def test_lines_of_one_function_stand_out_together_at_the_most_frequent():
    lines = {Frame("pay", "/srv/shop/orders.py", line): 10 + (line == 15) for line in range(12, 20)}
    told = told_places(alone(Counter(lines)), sum(lines.values()), "samples")
    assert told == ("pay /srv/shop/orders.py:15 (100% of the samples)",)


@given(st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), st.integers(1, 99)))
def test_samples_by_function_add_up_to_those_by_line(lines):
    frames = Counter({Frame(name, "/srv/a.py", line): n for (name, line), n in lines.items()})
    functions = by_function(frames)
    assert functions.total() == frames.total()
    for frame, count in functions.items():
        same = {one: n for one, n in frames.items() if one.name == frame.name}
        assert (count, frames[frame]) == (sum(same.values()), max(same.values()))
