"""What is promised for each fault, and the tests that hold it; and promises that no other test holds."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pyarrow as pa
import pytest

from stages.schemas import TABLES
from tests.faults import world

ROOT = Path(__file__).parents[2]

PROMISES: dict[str, tuple[str, ...]] = {
    "empty or blank text": ("stages/test_ingest::test_bad_row_is_refused_with_its_place", "stages/test_ingest::test_bad_row_is_quarantined_with_its_place"),
    "null, NaN, number, bytes for a text": ("stages/test_ingest::test_bad_row_is_refused_with_its_place", "stages/test_ingest::test_bytes_are_no_text"),
    "lone surrogate, invalid UTF-8": ("stages/test_ingest::test_bad_row_is_refused_with_its_place", "stages/datasets/test_pairs::test_invalid_utf8_in_parquet_is_named"),
    "BOM, CRLF, U+2028": ("stages/test_ingest::test_awkward_bytes_are_read_as_they_are", "stages/datasets/test_pairs::test_quoted_cells_hold_delimiters_and_lines"),
    "duplicate ids": ("stages/test_ingest::test_first_five_duplicate_ids_with_both_places", "stages/test_ingest::test_quarantine_keeps_the_first_of_an_id"),
    "duplicate and near-duplicate texts": (
        "stages/test_judge::test_a_positive_of_another_query_with_the_same_text_is_no_negative_nor_is_its_duplicate",
        "stages/filters/test_same_text::test_the_query_itself_and_the_whole_group_of_a_positive_are_dropped",
        "stages/filters/test_near_duplicate_lexical::test_case_and_punctuation_do_not_tell_texts_apart_and_a_word_does",
        "properties/test_judging::test_no_positive_is_ever_kept_nor_with_same_text_a_duplicate_of_one",
    ),
    "ids 1 and \"1\", 0001, 1e5, NA": ("stages/datasets/test_pairs::test_id_columns", "stages/test_ingest::test_fixture_comes_back_row_by_row", "stages/datasets/test_pairs::test_typed_columns_of_parquet_are_not_coerced"),
    "ids with tabs, line ends, ../, 10 kB": (
        "stages/test_trec::test_a_run_line_has_six_fields_whatever_the_ids_hold", "stages/test_evaluate::test_runs_name_split_and_system_and_escape_ids",
        "roundtrip/test_every_exporter::test_tabs_and_line_ends_are_counted_where_there_is_no_quoting", "faults/test_hostile::test_hostile_ids_and_texts_go_through_the_whole_pipeline",
    ),
    "qrels that name what is missing": ("stages/test_ingest::test_missing_judgements_within_the_number_are_listed", "stages/test_ingest::test_the_number_of_missing_judgements_is_told_in_full"),
    "query without positives": ("stages/test_ingest::test_a_query_without_a_positive_is_kept_counted_and_listed", "stages/test_evaluate::test_every_query_gets_its_own_value_and_the_mean_is_over_those_with_positives"),
    "a score that cannot be computed": ("stages/filters/test_margins::test_what_cannot_be_computed_is_dropped", "stages/test_judge::test_margins_drop_where_a_positive_has_no_score"),
    "all filtered, k beyond the corpus, corpus of one": ("stages/test_sample::test_too_little_yield_names_reasons_and_queries", "stages/test_mine::test_depth_beyond_the_corpus_is_clamped_and_said", "stages/test_mine::test_a_corpus_of_one"),
    "too few negatives": ("stages/test_sample::test_what_is_missing_is_reported_and_never_filled_up",),
    "truncated gzip, broken JSONL": ("stages/datasets/test_beir::test_truncated_gzip_names_the_line", "stages/datasets/test_beir::test_flipped_gzip_is_seen"),
    "damaged Parquet": ("faults/test_corruption::test_a_thousand_damages", "faults/test_corruption::test_a_sample_of_damages", "faults/test_bad_input::test_bad_input_gives_its_message"),
    "wrong schema": ("stages/datasets/test_pairs::test_typed_columns_of_parquet_are_not_coerced", "stages/datasets/test_pairs::test_files_of_a_folder_need_the_same_columns"),
    "more than 2 GB of text": ("faults/test_promises::test_texts_may_have_more_than_2_gb", "pipeline/test_store::test_wide_rows_go_into_small_row_groups"),
    "glob characters in names": ("pipeline/test_catalog::test_a_file_name_means_that_file_alone", "stages/datasets/test_pairs::test_a_folder_is_all_its_files"),
    "damaged FAISS index": ("stages/indexes/test_flat::test_a_damaged_index_is_refused_before_it_takes_memory", "faults/test_corruption::test_a_thousand_damages", "faults/test_hostile_files::test_a_hostile_index_takes_no_memory"),
    "FAISS files from elsewhere": (
        "pipeline/test_foreign::test_a_hostile_index_is_refused_and_this_process_lives", "pipeline/test_foreign::test_a_hostile_index_is_not_pulled",
        "faults/test_promises::test_faiss_files_are_read_in_one_place",
    ),
    "index out of row order": ("stages/test_mine::test_an_index_of_other_vectors_is_refused", "stages/indexes/test_exact::test_a_foreign_corpus_is_noticed"),
    "images, tar and zip": ("faults/test_promises::test_pictures_and_archives_are_opened_where_there_are_tests_of_bombs",),
    "SIGKILL": ("faults/test_kills::test_every_kill", "faults/test_kills::test_a_sample_of_kills"),
    "SIGTERM, Ctrl-C": ("faults/test_kills::test_a_sample_of_signals", "faults/test_kills::test_signals_from_outside_at_random_times", "faults/test_whole_runs::test_whole_runs_are_stopped_at_random_times"),
    "full disk, read-only folder": ("faults/test_kills::test_every_refusal", "pipeline/test_room::test_a_run_stops_before_it_writes_unless_it_is_told_not_to", "pipeline/test_room::test_too_little_names_all_three"),
    "two runs in one workspace": ("faults/test_together::test_double_starts_have_one_winner", "faults/test_together::test_the_lock_of_a_killed_process_is_reclaimed_at_once_and_it_is_not_named"),
    "clock skew": ("faults/test_promises::test_times_of_files_decide_nothing",),
    "changed configuration or model": ("faults/test_staleness::test_every_key_makes_its_own_stage_stale_and_no_other", "faults/test_staleness::test_one_byte_of_the_weights_changes_the_fingerprint"),
    "out of GPU memory": ("stages/encoders/test_sentence_transformers::test_memory_is_halved_until_it_suffices", "stages/encoders/test_sentence_transformers::test_the_text_that_never_fits_is_named"),
    "no CUDA": ("pipeline/test_device::test_auto_is_the_processor_where_cuda_is_missing", "stages/indexes/test_exact::test_a_missing_gpu_is_refused"),
    "NaN, Inf, zero vectors": ("stages/test_embed::test_a_useless_vector_is_refused_with_its_ids", "faults/test_bad_input::test_bad_input_gives_its_message"),
    "hub offline": ("stages/encoders/test_sentence_transformers::test_a_hub_id_that_is_not_cached_is_named_when_offline",),
    "fork after a search": ("faults/test_promises::test_no_process_is_forked",),
    "CSV for people": ("faults/test_promises::test_csv_is_written_for_trainers_alone", "faults/test_hostile::test_tab_separated_exports_keep_their_columns_and_formulas_as_they_are"),
    "damage by other tools": ("faults/test_other_tools::test_what_other_tools_do_is_found", "faults/test_other_tools::test_a_run_uses_no_damaged_input_and_its_mend_works", "faults/test_other_tools::test_a_file_without_permissions_is_named"),
    "bad input from outside": ("faults/test_nasty::test_each_ends_as_it_should", "faults/test_nasty::test_a_workspace_where_none_can_be_is_refused", "fuzz/test_readers::test_no_reader_is_left_out"),
    "no pickle": ("faults/test_hostile_files::test_no_pickle_is_ever_loaded", "stages/encoders/test_sentence_transformers::test_pickled_weights_are_refused"),
    "DuckDB": ("pipeline/test_catalog::test_nothing_outside_of_the_workspace_can_be_read", "pipeline/test_catalog::test_nothing_but_one_select_is_run", "pipeline/test_catalog::test_the_connection_itself_is_locked"),
    "HTML reports": ("stages/test_report::test_hostile_texts_do_nothing_and_the_page_asks_for_nothing", "stages/test_report::test_the_policy_allows_exactly_the_style_that_is_there", "faults/test_hostile::test_hostile_ids_and_texts_go_through_the_whole_pipeline"),
    "what is no file, and files of another kind": (
        "faults/test_bad_places::test_what_is_no_file_is_refused", "faults/test_bad_places::test_none_of_a_folder_is_passed_over",
        "faults/test_bad_places::test_a_file_that_is_packed_in_another_way_is_told_by_its_kind",
    ),
    "killed inside of training": ("faults/test_kills_in_training::test_every_kill_in_training", "stages/test_train::test_a_killed_run_goes_on_to_the_same_bytes"),
    "long runs": ("faults/test_long::test_nothing_grows_over_a_hundred_shards", "faults/test_long::test_nothing_grows_over_five_rounds"),
    "scale-out": ("faults/test_long::test_threads_and_shards_change_nothing", "pipeline/test_engines::test_a_killed_run_takes_its_workers_along_and_goes_on"),
    "power loss": ("faults/test_kills::test_a_hundred_power_losses",),
    "determinism": ("faults/test_golden::test_the_fixture_gives_what_it_always_gave", "properties/test_mining::test_shards_blocks_and_threads_change_nothing", "stages/indexes/test_factory::test_the_same_vectors_give_the_same_index_in_any_number_of_threads", "properties/test_judging::test_any_sharding_gives_the_same_triplets"),
}  # fmt: skip


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_has_its_tests(promise):
    for test in PROMISES[promise]:
        place, _, name = test.partition("::")
        assert name in names_in(ROOT / "tests" / f"{place}.py"), test


def test_texts_may_have_more_than_2_gb():
    for table in ("corpus", "queries"):
        for name in ("text", "title", "doc_id", "query_id", "prompt"):
            if name in TABLES[table].names:
                assert TABLES[table].field(name).type == pa.large_string(), f"{table}.{name}"


def sources():
    for folder in ("stages", "pipeline"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


OPENS = {
    "PIL": {"stages/imaging.py", "stages/datasets/_drawings.py", "stages/augmentations/simclr.py", "stages/augmenting.py",
            "stages/encoders/_seeing.py", "stages/encoders/_towers.py"},
    "pickle": {"stages/encoders/_efficientnet.py"},  # for the name of the error with which torch refuses code
    "tarfile": {"stages/datasets/_tar_samples.py", "stages/datasets/_npm.py", "stages/exporters/webdataset.py"},
}  # fmt: skip
"""Who may open pictures and archives. Bytes from outside are decoded in `stages.imaging` alone, whose tests have the bombs."""


def test_pictures_and_archives_are_opened_where_there_are_tests_of_bombs():
    """Whoever adds a reader of these adds tests of bombs, and its promise to the table above."""
    for path, tree in sources():
        place = path.relative_to(ROOT).as_posix()
        found = imported(tree) & {"PIL", "tarfile", "zipfile", "shelve", "marshal", "pickle", "dill", "joblib"}
        assert {name for name in found if place not in OPENS.get(name, ())} == set(), place


def calls(tree: ast.AST) -> set[str]:
    return {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def test_faiss_files_are_read_in_one_place():
    """In `stages/indexes/_faiss.py`, with limits, after the hash was checked; what comes from elsewhere goes through `pipeline.foreign` first."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for path, tree in sources()
        if calls(tree) & {"read_index", "deserialize_index", "read_index_binary"}
    }
    assert readers == {"stages/indexes/_faiss.py"}
    users = {path.relative_to(ROOT).as_posix() for path, tree in sources() if "refuse_hostile" in calls(tree)}
    assert users == {"pipeline/remote.py"}


def test_csv_is_written_for_trainers_alone():
    """What trainers read is written as it is. A table for people, anywhere else, would have to prefix formulas."""
    for path, tree in sources():
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(("stages/exporters/", "stages/datasets/")):  # these write for trainers, and those read
            continue
        names = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not calls(tree) & {"to_csv", "write_csv", "DictWriter", "writerow", "writerows"}, place
        assert not [name for name in names if name.endswith((".csv", ".tsv")) and " " not in name], place
        assert "csv" not in imported(tree), place


def test_no_process_is_forked():
    for path, tree in sources():
        called = {
            node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
        }
        assert not called & {"fork", "forkpty"}, path
        assert not imported(tree) & {"multiprocessing"} or "get_context" in called, path


def test_times_of_files_decide_nothing(bench, monkeypatch):
    workspace = bench.copy()
    world.lighten(monkeypatch.setattr)
    for i, path in enumerate(sorted(workspace.rglob("*"))):
        when = (0, 2**32 + i)[i % 2]
        os.utime(path, (when, when))
    for path in bench.data.rglob("*"):
        os.utime(path, (2**33, 2**33))
    assert all(state.fresh for state in world.runner(bench.data, workspace).status())
