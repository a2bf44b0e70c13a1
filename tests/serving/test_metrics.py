"""What a server counts, in Prometheus' format."""

from textgen.serving.metrics import Metrics


def test_counts_are_shown_under_their_names():
    metrics = Metrics()
    for status in (200, 200, 400):
        metrics.count_request("/v1/completions", status)
    metrics.count_characters(3)
    metrics.count_characters(4)
    lines = metrics.render({"textgen_rows": 5, "textgen_queue_length": 6}).splitlines()
    assert 'textgen_requests_total{path="/v1/completions",status="200"} 2' in lines
    assert 'textgen_requests_total{path="/v1/completions",status="400"} 1' in lines
    assert "textgen_characters_total 7" in lines
    assert "textgen_rows 5" in lines and "textgen_queue_length 6" in lines


def test_a_histogram_counts_everything_up_to_each_limit():
    metrics = Metrics()
    for seconds in (0.01, 0.02, 0.3, 99):
        metrics.observe_first(seconds)
    lines = metrics.render({}).splitlines()
    name = "textgen_first_character_seconds"
    found = {
        line.split('"')[1]: int(line.split()[-1])
        for line in lines
        if line.startswith(f"{name}_bucket")
    }
    assert found["0.01"] == 1 and found["0.025"] == 2 and found["0.5"] == 3
    assert found["60"] == 3 and found["+Inf"] == 4
    assert f"{name}_sum 99.330000" in lines and f"{name}_count 4" in lines


def test_every_sample_has_a_help_and_a_type_before_it():
    lines = Metrics().render({"textgen_rows": 0}).splitlines()
    for line in lines:
        if not line.startswith("#"):
            name = line.split("{")[0].split()[0]
            base = name.removesuffix("_sum").removesuffix("_count").removesuffix("_bucket")
            assert any(other.startswith(f"# TYPE {base} ") for other in lines)
            assert any(other.startswith(f"# HELP {base} ") for other in lines)
