"""A text in turns: what each line gives, what can be taken back, and that errors change nothing."""

import dataclasses
import io
import os
import select
import stat
import sys
import threading

import pytest
from factories import learn_tokenizer, random_checkpoint

from textgen.cli.interactive import MOST_CHOICES, Quit, Session, converse
from textgen.config.sample import SampleConfig
from textgen.engine.ngrams import NGrams
from textgen.errors import MachineError, TextError, TextgenError, UsageError
from textgen.textmodel import TextModel
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text('abcdefgh\n\t. "' * 3)


def checkpoint():
    return random_checkpoint(LETTERS, layers=2, scale=0.7)


@pytest.fixture
def model():
    return TextModel(checkpoint())


def session_of(model, seed=5, **options):
    return Session(model, SampleConfig(**{"length": 20, **options}), seed)


@pytest.fixture
def session(model):
    return session_of(model)


def say(session, *lines):
    """What the last of some lines gives, as it is read on the terminal."""
    said = ""
    for line in lines:
        said = "".join(session.reply(line))
    return said


def continued(text, seed, config=None, **options):
    """What the model writes after a text with a seed of its own, the library's way."""
    model = TextModel(checkpoint())
    state = model.read([text])._replace(seed=seed)
    config = config or SampleConfig(length=20)
    return model.sample(config=config, state=state, **options)


# Adding and going on


def test_an_empty_line_begins_a_text_and_goes_on_with_it(session):
    first = continued("", seed=5)
    assert say(session, "") == first + "\n"
    assert session.text == first
    second = continued(first, seed=6)
    assert say(session, "") == second + "\n"
    assert session.text == first + second


def test_the_first_reply_is_what_the_command_writes_with_that_seed(model, session):
    assert say(session, "ab") == model.sample("ab", length=20, seed=5) + "\n"


def test_a_line_is_added_to_the_text_and_the_model_goes_on_from_there(session):
    assert say(session, "ab. ") == "ab. " + continued("ab. ", seed=5) + "\n"
    text = session.text
    assert say(session, "hgf") == "hgf" + continued(text + "hgf", seed=6) + "\n"
    assert session.text == text + "hgf" + continued(text + "hgf", seed=6)


def test_a_line_is_unescaped(session):
    say(session, r"a\nb\tc")
    assert session.text.startswith("a\nb\tc")


def test_a_line_of_digits_is_text_where_there_is_nothing_to_choose():
    digits = CharTokenizer.from_text("0123456789")
    session = session_of(TextModel(random_checkpoint(digits, scale=0.5, hidden=4)))
    say(session, "12")
    assert session.text.startswith("12") and len(session.text) == 22


def test_pieces_come_one_by_one_and_the_text_is_what_was_shown(session):
    """Whoever stops listening has the text so far, and goes on from it."""
    say(session, "ab")
    before, pieces = session.text, session.reply("cd")
    shown = [next(pieces) for _ in range(5)]
    pieces.close()
    assert shown[0] == "cd" and all(len(piece) == 1 for piece in shown[1:])
    assert session.text == before + "".join(shown)
    text = session.text
    assert say(session, "") == continued(text, seed=7) + "\n"


@pytest.mark.parametrize(
    "options",
    [
        {"until": "line", "length": 60},
        {"until": "sentence", "length": 60},
        {"stop": ("a",), "length": 60},
        {"lines": 1, "length": 60},
        {"mirostat": 2.0},
        {"no_repeat_ngram": 3},
    ],
    ids=str,
)
def test_every_continuation_goes_on_from_the_text_that_is_shown(model, options):
    session = session_of(model, **options)
    say(session, "ab")
    for seed in (6, 7, 8):
        text = session.text
        assert say(session, "") == continued(text, seed, **options) + "\n"
        assert session.text == text + continued(text, seed, **options)


def test_a_pattern_is_matched_by_each_continuation(model):
    session = session_of(model, match="[ab]{3}")
    assert say(session, "h").removeprefix("h").strip("ab") == "\n"
    text = session.text
    assert say(session, "") == continued(text, 6, match="[ab]{3}") + "\n"
    assert len(session.text) == 7


def test_the_same_seed_gives_the_same_session(model):
    lines = ["ab", "", ":3", "2", ":undo", "c", ":set --temperature 1.5", "", ":undo", ""]

    def transcript(seed):
        session = session_of(TextModel(checkpoint()), seed)
        return [say(session, line) for line in lines] + [session.text]

    assert transcript(1) == transcript(1)
    assert transcript(1) != transcript(2)


def test_a_session_at_the_largest_seed_goes_round(model):
    session = session_of(model, seed=2**63 - 1)
    assert say(session, "ab") == "ab" + continued("ab", 2**63 - 1) + "\n"
    text = session.text
    assert say(session, "") == continued(text, 0) + "\n"


# Choices


def offered(said):
    """The texts of an offer; none of these holds a newline."""
    lines = said.removesuffix("\n").split("\n")
    assert [line[: line.index(" ")] for line in lines] == [
        f"[{number}]" for number in range(1, len(lines) + 1)
    ]
    return [line[line.index(" ") + 1 :] for line in lines]


@pytest.fixture
def choosing(model):
    """A session whose texts have no newlines, so that choices stand on a line each."""
    session = session_of(model, ban="\n")
    say(session, "ab")
    return session


@pytest.mark.parametrize("number", [1, 2, 5, 30])
def test_choices_are_offered_by_their_numbers(choosing, number):
    text = choosing.text
    found = offered(say(choosing, f":{number}"))
    assert len(found) == number == len(set(found))
    assert choosing.text == text
    assert found[0] == continued(text, seed=6, ban="\n")


@pytest.mark.parametrize("number", [1, 3])
def test_a_number_takes_the_choice_and_the_text_goes_on_from_it(choosing, number):
    text = choosing.text
    choice = offered(say(choosing, ":3"))[number - 1]
    assert say(choosing, str(number)) == choice + "\n"
    assert choosing.text == text + choice
    assert say(choosing, "") == continued(text + choice, seed=7, ban="\n") + "\n"


def test_a_choice_that_ended_goes_on_from_the_text_that_is_shown(model):
    options = {"until": "line", "length": 60, "temperature": 2.0}
    for number in "1234":
        session = session_of(model, **options)
        offer = say(session, "ab", ":4")
        assert len(offer) < 4 * 60  # some have ended
        say(session, number)
        text = session.text
        assert say(session, "") == continued(text, 7, **options) + "\n"


def test_anything_else_takes_none(choosing):
    text = choosing.text
    say(choosing, ":3", ":show")
    with pytest.raises(TextError, match="'2'"):  # a character of the text now, and unknown
        say(choosing, "2")
    assert choosing.text == text
    say(choosing, ":3", "cd")
    assert choosing.text.startswith(text + "cd")


def test_a_number_that_was_not_offered_is_an_error_and_takes_none(choosing):
    text = choosing.text
    for wrong in ("0", "4", "99999999999999999999"):
        say(choosing, ":3")
        with pytest.raises(UsageError, match="there were 3"):
            say(choosing, wrong)
        assert choosing.text == text


def test_choices_at_the_beginning_of_a_text(session):
    say(session, ":2", "2")
    assert len(session.text) == 20


# Taking back


def test_undo_takes_the_last_step_back_whatever_it_was(choosing):
    texts = [choosing.text]
    for lines in (["cd"], [""], [":3", "2"], ["ef"]):
        say(choosing, *lines)
        texts.append(choosing.text)
    for expected in texts[-2::-1]:
        assert say(choosing, ":undo") == expected[-200:] + "\n"
        assert choosing.text == expected
    say(choosing, ":undo")
    assert choosing.text == ""
    with pytest.raises(UsageError, match="nothing to undo"):
        say(choosing, ":undo")


def test_undo_shows_no_more_than_the_end(model):
    session = session_of(model, length=500)
    say(session, "ab")
    text = session.text
    assert say(session, "", ":undo") == text[-200:] + "\n"


def test_after_undo_the_text_goes_on_from_where_it_was(session):
    say(session, "ab")
    text = session.text
    say(session, "gg", ":undo")
    assert say(session, "") == continued(text, seed=7) + "\n"


def test_another_try_after_undo_is_another_text(session):
    say(session, "ab")
    tries = {say(session, "")} | {say(session, ":undo", "") for _ in range(5)}
    assert len(tries) == 6


# Options


def test_learn_makes_the_model_write_in_the_manner_of_the_text():
    tokenizer = CharTokenizer.from_text("abcdefgh\n " * 9)
    plain = random_checkpoint(tokenizer, ngrams=6)
    counted = NGrams.count(tokenizer.encode("gg hh " * 30), tokenizer.size, 5)
    session = session_of(
        TextModel(dataclasses.replace(plain, ngrams=counted)), length=60, temperature=0.3
    )
    manner = "abcdefabcdef" * 6
    say(session, manner)
    before = session.text
    before_nats = session.model.score(manner).nats_per_char
    assert say(session, ":learn") == ""
    assert session.text == before
    assert session.model.score(manner).nats_per_char < before_nats
    with pytest.raises(UsageError, match="nothing to undo"):
        say(session, ":undo")


def test_a_network_alone_learns_nothing(session):
    say(session, "ab")
    with pytest.raises(UsageError, match="network alone"):
        say(session, ":learn")


def test_set_changes_what_is_written_from_then_on(session):
    say(session, "ab", ":set --temperature 0 --length 7")
    text = session.text
    assert say(session, "") == continued(text, 6, temperature=0.0, length=7) + "\n"
    say(session, ":set --temperature 0.5:2 --only a-c --length 30")
    assert set(say(session, "")) <= set("abc\n")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--stop a", {"stop": ("a",)}),
        ("--stop a --stop bc", {"stop": ("a", "bc")}),
        ('--stop "b c"', {"stop": ("b c",)}),
        ("--bias a-c:2 --bias h:-1.5", {"bias": ("a-c:2", "h:-1.5")}),
        ("--until line", {"until": "line"}),
        ('--ban "a b"', {"ban": "a b"}),
        ("--top-k 2 --min-p 0.1", {"top_k": 2, "min_p": 0.1}),
        ("--temperature 1.5:0.5", {"temperature": (1.5, 0.5)}),
        # What a shell cannot say is unescaped, as on the command line.
        (r"--ban '\n'", {"ban": "\n"}),
        (r"--stop '\nf'", {"stop": ("\nf",)}),
        (r"--only 'a-d\t'", {"only": "a-d\t"}),
        (r"--bias '\n:3'", {"bias": ("\n:3",)}),
    ],
)
def test_set_takes_the_options_of_the_command_line(model, words, options):
    session = session_of(model, length=80, **({} if "--temp" in words else {"temperature": 2.0}))
    say(session, "ab")
    text = session.text
    before = session.config
    assert continued(text, 6, before, **options) != continued(text, 6, before)
    say(session, f":set {words}")
    assert say(session, "") == continued(text, 6, before, **options) + "\n"


def test_set_without_options_changes_nothing(session):
    before = session.config
    assert say(session, ":set") == ""
    assert session.config == before


# The rest


def test_show_gives_the_whole_text(session):
    assert say(session, ":show") == "\n"
    say(session, "ab", "cd")
    assert say(session, ":show") == session.text + "\n"


def test_save_writes_the_whole_text_to_a_file(session, tmp_path):
    path = tmp_path / "my text.txt"
    say(session, r"ab\n", "")
    assert say(session, f":save {path}") == f"{len(session.text)} characters written to {path}\n"
    assert path.read_bytes().decode() == session.text
    say(session, "", f":save {path}")
    assert path.read_bytes().decode() == session.text


def test_save_follows_a_link(session, tmp_path):
    (tmp_path / "text.txt").write_text("old")
    (tmp_path / "link").symlink_to("text.txt")
    say(session, "ab", f":save {tmp_path / 'link'}")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "text.txt").read_text() == session.text


@pytest.fixture
def pipe(tmp_path):
    """A named pipe and its reader, which never waits."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(reader, "rb", buffering=0) as file:
        yield path, file


def test_save_writes_into_a_named_pipe(session, pipe):
    path, reader = pipe
    say(session, "ab", f":save {path}")
    assert reader.readall().decode() == session.text
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.slow
def test_a_reader_that_leaves_ends_no_conversation(model, pipe):
    path, reader = pipe
    long = "ab" * 34_000  # more than a pipe holds
    session = Session(model, SampleConfig(length=20), seed=5, prime=long)

    def leave():
        select.select([reader], [], [], 60)
        reader.close()

    leaving = threading.Thread(target=leave)
    leaving.start()
    try:
        with pytest.raises(MachineError, match="broken pipe") as caught:
            say(session, f":save {path}")
    finally:
        leaving.join()
    assert caught.value.subject == str(path)
    assert session.text == long


def test_help_names_every_command(session):
    said = say(session, ":help")
    for name in (":N", ":undo", ":set", ":show", ":save", ":quit"):
        assert name in said
    assert session.text == ""


def test_quit_ends_the_session(session):
    with pytest.raises(Quit):
        say(session, ":quit")


# Errors

WRONG = {
    "ß": (TextError, "'ß'"),
    "abß": (TextError, "position 3"),
    ":": (UsageError, ":"),
    ":foo": (UsageError, ":foo"),
    ":undone": (UsageError, ":help"),
    ":0": (UsageError, "1 to 64"),
    f":{MOST_CHOICES + 1}": (UsageError, "1 to 64"),
    ":99999999999999999999": (UsageError, "1 to 64"),
    ":²": (UsageError, ":²"),
    ":-1": (UsageError, ":-1"),
    ":save": (UsageError, ":save FILE"),
    ":save missing/folder/x.txt": (MachineError, "missing"),
    ":save a\0b": (UsageError, r"a\x00b"),
    ":save .": (MachineError, "directory"),
    ":set --temperature hot": (UsageError, "--temperature"),
    ":set --temperature -1": (UsageError, "--temperature"),
    ":set --tempreature 1": (UsageError, "did you mean --temperature"),
    ":set --top-k 3 --mirostat 2": (UsageError, "cannot be combined"),
    ":set --only a --top-k 0": (UsageError, "--top-k"),
    ":set 'a": (UsageError, "quotation"),
    ":set loudly": (UsageError, "loudly"),
    ":set --length": (UsageError, "--length"),
}


@pytest.mark.parametrize(("line", "error"), WRONG.items(), ids=WRONG)
def test_an_error_changes_nothing(line, error, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session, calm = session_of(model), session_of(model)
    for one in (session, calm):
        say(one, "ab")
    said = []
    with pytest.raises(error[0]) as caught:
        said += list(session.reply(line))
    assert error[1] in str(caught.value)
    assert said == [] and not list(tmp_path.iterdir())
    assert session.text == calm.text and session.config == calm.config
    assert say(session, "") == say(calm, "")
    say(session, ":undo")
    say(calm, ":undo")
    assert session.text == calm.text


@pytest.mark.parametrize(
    "options",
    [
        {"ban": '\n\t. a-h"'},
        {"best_of": 2},
        {"beams": 2},
        {"num": 2},
        {"novel": 3},
        {"match": "a{30}"},
        {"match": "ß"},
    ],
    ids=str,
)
@pytest.mark.parametrize("line", ["", "cd", ":3"])
def test_options_under_which_nothing_can_be_written_change_nothing_either(model, options, line):
    """Whether they are refused when they are set or when they are used."""
    session, calm = session_of(model), session_of(model)
    for one in (session, calm):
        say(one, "ab")
    session.config = dataclasses.replace(session.config, **options)
    said = ""
    try:
        for piece in session.reply(line):
            said += piece
    except TextgenError as error:
        assert error.exit_code == 2
        assert session.text == calm.text
        assert said == ""
    else:
        assert len(session.text) == len(calm.text) + len(said.removesuffix("\n")) or line == ":3"
        return
    session.config = calm.config
    assert say(session, "") == say(calm, "")


# From standard input


class Terminal(io.StringIO):
    def isatty(self):
        return True


def conversation(monkeypatch, capsys, session, typed):
    """What a conversation prints, and what it says went wrong."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    converse(session)
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_lines_are_read_until_the_input_ends(monkeypatch, capsys, model, session):
    other = session_of(model)
    expected = say(other, "ab") + say(other, "") + say(other, ":undo")
    assert conversation(monkeypatch, capsys, session, "ab\n\n:undo") == (expected, "")
    assert session.text == other.text


def test_quit_reads_no_further(monkeypatch, capsys, session):
    conversation(monkeypatch, capsys, session, "ab\n:quit\ncd\n")
    assert session.text.startswith("ab") and len(session.text) == 22


def test_an_error_is_said_in_a_line_and_the_conversation_goes_on(monkeypatch, capsys, session):
    out, err = conversation(monkeypatch, capsys, session, "ß\n:foo\nab\n")
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["textgen", "error", "--prime"],
        ["textgen", "error", ":foo"],
    ]
    assert out == session.text + "\n" and out.startswith("ab")


def test_an_interrupt_ends_the_continuation_where_it_is(monkeypatch, capsys, session):
    said, original = [], session.reply

    def interrupted(line):
        for number, piece in enumerate(original(line)):
            if line == "ab" and number == 6:
                raise KeyboardInterrupt
            said.append(piece)
            yield piece

    monkeypatch.setattr(session, "reply", interrupted)
    out, err = conversation(monkeypatch, capsys, session, "ab\ncd\n")
    assert err == ""
    assert "".join(said[:6]) + "\ncd" in out
    assert session.text.startswith("".join(said[:6]))


def test_an_interrupt_at_the_prompt_ends_everything(monkeypatch, capsys, session):
    def interrupt(prompt=""):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    assert conversation(monkeypatch, capsys, session, "ab\n") == ("", "")


def test_a_terminal_is_shown_no_control_characters(monkeypatch):
    alphabet = CharTokenizer.from_text("a\x1b\x07\n")
    session = session_of(TextModel(random_checkpoint(alphabet, scale=0.5, hidden=4)), length=100)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n:show\n"))
    monkeypatch.setattr(sys, "stdout", Terminal())
    converse(session)
    shown = sys.stdout.getvalue()
    assert "\x1b" in session.text and r"\x1b" in shown
    assert "\x1b" not in shown and "\x07" not in shown


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_a_conversation_with_a_model_of_bytes_or_pieces(kind):
    model = TextModel(random_checkpoint(learn_tokenizer(kind, "the cat é 日本\n" * 9)))
    session = session_of(model)
    said = say(session, "the cat é")
    assert said.startswith("the cat é")
    assert len(session.text) == 9 + 20
    before = session.text
    offers = say(session, ":3").splitlines()
    say(session, "2")
    assert len(session.text) == 9 + 40
    assert session.text.startswith(before)
    assert offers
    say(session, ":undo", ":set --length 5", "")
    assert len(session.text) == 9 + 25
    assert "\ufffd" not in session.text
