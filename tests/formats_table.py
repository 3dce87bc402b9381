"""docs/formats.md, from what stands here: each schema and each rule with what reads or writes it and the tests that show it.

`python -m tests.formats_table` writes it anew. That every reader and every target is here, and every test that is named, is
itself tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PLACE = Path(__file__).parent.parent / "docs/formats.md"
ANY_TEXT = "test_any_text_any_id_and_any_count_come_back_equal_or_are_refused"
RAGGED = "test_a_whole_data_set_of_any_texts_and_ragged_counts_comes_back_equal_or_is_refused"
EQUAL = "test_what_is_written_is_read_back_equal"
BACK = "test_triplets_come_back"


class Line(NamedTuple):
    """A schema, the members that read or write it, and the tests."""

    what: str
    by: tuple[str, ...]
    tests: tuple[str, ...]


INPUTS = (
    Line("BEIR folder: `corpus.jsonl`, `queries.jsonl`, `qrels/*.tsv` with a header or without, `.gz`, a prefix", ("beir",),
         ("test_fixture_comes_back_row_by_row", "test_header_is_found_or_told", "test_gzip_is_the_same_as_plain",
          "test_queries_and_qrels_of_a_prefix", "test_quoted_ids_are_read_as_the_loader_of_beir_does", "test_a_retrieval_data_set_comes_back")),
    Line("MTEB repository: configurations corpus, queries, default or qrels, instruction, subsets; a folder or an id of the hub. "
         "BEIR's own repositories need scripts, which `datasets` runs no more: MTEB's copies are read. `top_ranked`: as the retriever `run`", ("mteb",),
         ("test_mteb", "test_mteb_reads_what_datasets_reads", "test_mteb_subset_instruction_and_jsonl", "test_mteb_faults",
          "test_a_retrieval_data_set_comes_back")),
    Line("Hugging Face data set: folder, `save_to_disk`, id of the hub; pairs, triplets, n-tuples, labels; lists written as text. "
         "Rows of `document_ids` and scores say no relevance: they are candidates, as the retriever `run`", ("huggingface",),
         ("test_a_folder_as_datasets_reads_it", "test_saved_to_disk", "test_lists_written_as_text", "test_lists_written_as_text_and_ids_as_they_are",
          "test_passages_of_a_data_set_and_subsets", "test_triplets_ntuples_labels_and_scores", "test_huggingface_faults")),
    Line("MS MARCO TSVs: collection, documents, queries, qrels, triples of ids or of texts; encoding mended when asked. "
         "`top1000`: as the retriever `run`", ("msmarco",),
         ("test_msmarco", "test_msmarco_documents_and_triples_of_texts", "test_msmarco_faults", "test_msmarco_lacks_and_clashes")),
    Line("TREC topics, XML topics, qrels of four or three fields, documents. What is judged below 0, as spam, is no positive, and with the "
         "filter `negative_relevance`, which `init` writes, no hard negative", ("trec",),
         ("test_trec_topics", "test_trec_forms_and_fields", "test_trec_faults", "test_relevance_below_0_drops_and_is_the_evidence",
          "test_a_trec_collection_gets_the_filter_of_spam")),
    Line("TREC run of six, three or two fields; MS MARCO's `top1000`; MTEB's `top_ranked` and rows of `document_ids` with scores, as JSON lines "
         "or Parquet: candidates, as the retriever `run`", (),
         ("test_a_run_that_was_written_is_read_back", "test_faults_are_told", "test_unknown_ids_stop_unless_they_are_allowed",
          "test_hits_without_scores_are_in_the_order_of_the_file", "test_lists_of_ids_with_scores",
          "test_lists_that_say_something_else_are_refused")),
    Line("ir_datasets ids, as an extra", ("ir_datasets",), ("test_ir_datasets", "test_ir_datasets_is_not_installed")),
    Line("FlagEmbedding JSONL: query, pos, neg, prompt; lists of scores are as long as their texts or the row is refused", ("flagembedding",),
         ("test_flagembedding", "test_flagembedding_prompts_and_scores", "test_scores_of_another_length_than_the_texts_are_refused_or_set_aside",
          "test_scores_of_another_length_are_found_in_parquet_too", BACK)),
    Line("A pool of `{\"text\"}` a line, CSV, TSV, Parquet or a folder of texts, without queries", ("corpus",),
         ("test_every_format_gives_the_same", "test_a_folder_of_texts", "test_without_ids_the_text_is_the_id")),
    Line("Tevatron passages and RLHN, ids with a corpus, the package of 2021; `text` or `document_text`", ("tevatron",),
         ("test_tevatron_passages_and_rlhn", "test_tevatron_ids", "test_tevatron_of_2021", BACK)),
    Line("DPR JSON or JSONL, with `psgs_w100.tsv`", ("dpr",),
         ("test_dpr", "test_dpr_with_a_corpus", "test_an_array_reads_as_json_does", "test_an_array_is_a_stream", BACK)),
    Line("Pairs, triplets, n-tuples and labelled pairs in CSV, TSV, JSONL, Parquet, with names of columns given or known", ("pairs",),
         ("test_every_format_gives_the_same_pairs", "test_known_names_are_found", "test_columns_that_cannot_be_told",
          "test_bad_pair_is_refused_with_its_place", "test_columns_are_mapped", BACK)),
    Line("Image folder with metadata, captions beside pictures, or folders that name classes. `file_name` alone names a picture", ("image_folder",),
         ("test_each_direction_has_its_pairs", "test_captions_lie_beside_pictures_or_are_the_names_of_folders",
          "test_a_row_that_names_no_picture_is_refused_with_its_line", "test_a_broken_picture_stops_the_run_or_is_set_aside_with_its_judgements")),
    Line("WebDataset and img2dataset tars; a key with a dot is refused", ("webdataset",),
         ("test_samples_of_a_tar_are_pictures_with_captions_groups_and_classes", "test_a_sample_that_cannot_be_used_is_named",
          "test_a_tar_that_breaks_off_or_is_a_bomb_is_refused")),
    Line("open_clip TSV or CSV: `filepath` and `title`", ("open_clip",),
         ("test_a_table_of_open_clip_is_read_and_comes_back_from_its_export", "test_a_table_of_open_clip_with_a_fault_is_told_with_its_line")),
    Line("Parquet or Arrow with the feature Image", ("image_rows",),
         ("test_an_image_feature_is_read_as_datasets_writes_it", "test_pictures_may_lie_beside_the_rows_and_what_is_missing_is_named")),
    Line("Packages with data of their own: ICD-10-CM (the default), OpenMoji, emoji by four artists", ("icd10cm", "openmoji", "emoji_artists"),
         ("test_the_whole_of_it", "test_all_named_drawings_are_there_with_concept_and_class", "test_the_drawings_of_an_emoji_share_its_name_and_its_concept")),
    Line("Every reader: malformed files are told with file, line, column and id; changed bytes end in no traceback; memory grows by ids alone", (),
         ("test_malformed_files_are_told_with_place_and_mend", "test_bad_rows_are_named", "test_files_that_cannot_be_read_on",
          "test_bad_row_is_quarantined_with_its_place", "test_a_few_changes", "test_no_reader_is_left_out", "test_memory_grows_by_ids_alone")),
)  # fmt: skip

OUTPUTS = (
    Line("sentence-transformers: pair", ("st_pair",), ("test_one_step_of_the_trainer", "test_one_step_of_each_loss")),
    Line("sentence-transformers: triplet", ("st_triplet",), ("test_each_triplet_is_a_row_of_its_own_texts", "test_one_step_of_the_sentence_transformers_trainer", BACK)),
    Line("sentence-transformers: n-tuple, with scores or without", ("st_ntuple", "st_ntuple_scores"),
         ("test_a_pair_gives_its_first_negatives_in_the_order_of_choice", "test_one_step_of_each_loss", "test_labels_and_margins", BACK)),
    Line("sentence-transformers: margin-MSE in three columns and n-tuples", ("st_margin_mse", "st_margin_mse_ntuple"),
         ("test_labels_and_margins", "test_scores_that_are_not_known_are_left_out_and_counted", "test_one_step_of_each_loss")),
    Line("sentence-transformers: labelled or scored pair, labelled list of a cross-encoder", ("st_labelled_pair", "st_labelled_list"),
         ("test_one_step_of_the_trainer", "test_one_step_of_each_loss", "test_nothing_but_texts_and_a_label_reaches_the_trainer")),
    Line("FlagEmbedding: embedder and reranker, scores, prompts", ("flagembedding", "flagembedding_reranker"),
         ("test_flagembedding_loads_and_collates_the_file_and_the_folder", "test_flagembedding_batches_of_one_data_set_with_scores_and_prompts",
          "test_flagembedding_reranker_collates_pairs_with_their_prompts", BACK)),
    Line("Tevatron: ids with a corpus, and passages (RLHN)", ("tevatron", "tevatron_passages"),
         ("test_tevatron_documents_are_in_text_and_never_in_document_text", "test_tevatron_passages_all_have_a_title", BACK)),
    Line("contrastors: shards, offsets in bytes, counts, configuration", ("contrastors",),
         ("test_contrastors_offsets_are_bytes_under_both_keys", "test_contrastors_rows_have_as_many_negatives_as_asked_and_name_their_objective")),
    Line("PyLate: contrastive and distillation", ("pylate", "pylate_kd"),
         ("test_pylate_takes_the_first_column_for_the_query_and_skips_none", "test_pylate_distillation_has_every_document_and_rows_of_one_length")),
    Line("ColBERT: triples of integers, collection, queries, map of ids", ("colbert",),
         ("test_colbert_reads_examples_of_ids_and_of_scores", "test_colbert_ids_are_the_numbers_of_lines")),
    Line("GritLM", ("gritlm",), ("test_gritlm_has_no_text_which_would_be_read_as_generative_data", "test_plain_lines_load_as_a_folder_too")),
    Line("NeMo Automodel: ids with a corpus, or inline", ("nemo_automodel",),
         ("test_nemo_has_every_positive_each_question_once_and_a_path_from_the_file", "test_plain_lines_load_as_a_folder_too")),
    Line("ms-swift: embedding and reranker", ("ms_swift", "ms_swift_reranker"),
         ("test_ms_swift_has_exactly_one_positive_and_rerankers_answer_as_the_assistant", "test_plain_lines_load_as_a_folder_too")),
    Line("SPLADE TSV: triples, or with two scores", ("splade_tsv",), ("test_splade_lines_have_as_many_fields_as_its_reader_splits",)),
    Line("msmarco-hard-negatives JSONL of ids", ("msmarco_hard_negatives",), ("test_ids_stay_strings", "test_nothing_is_pickled")),
    Line("DPR", ("dpr",), ("test_dpr_mined_negatives_are_hard_negatives_and_every_row_has_a_positive", BACK)),
    Line("MTEB and BEIR repository in one folder", ("mteb_beir",),
         ("test_beir_reads_the_repository", "test_mteb_loads_the_repository_with_every_judgement", "test_a_retrieval_data_set_comes_back")),
    Line("open_clip TSV, WebDataset tars", ("open_clip", "webdataset"),
         ("test_captions_and_pictures_go_to_open_clip_and_webdataset_by_themselves", "test_a_picture_that_is_another_one_is_found",
          "test_any_caption_and_any_id_come_back_equal_or_are_left_out_with_a_reason")),
    Line("Data set folder for the hub: card, configurations, Parquet that the viewer pages; of texts, of pictures", ("hf_dataset", "hf_pictures"),
         ("test_every_configuration_of_a_card_loads", "test_the_viewer_can_page_and_finds_no_vectors",
          "test_a_data_set_for_the_hub_has_pictures_of_the_feature_image_in_small_row_groups")),
    Line("Every target of texts: read back equal by its loader, any text, id and count, any sharding, any damage found", (),
         (EQUAL, ANY_TEXT, RAGGED, "test_any_sharding_gives_the_same_bytes", "test_damaged_rows_are_found_though_every_hash_agrees",
          "test_negatives_that_are_missing_from_data_and_ids_alike_are_found", "test_a_document_that_no_row_names_is_compared")),
)  # fmt: skip

RULES = {
    "R1": Line("Ids, ranks and scores are in `ids.parquet`, in the order of the rows, and in no file that is trained on", (),
               ("test_nothing_but_texts_and_a_label_reaches_the_trainer", "test_the_sidecar_has_ids_scores_and_ranks_in_the_same_order",
                "test_a_sidecar_with_another_value_is_found")),
    "R2": Line("Anchor, positive, negatives, in this order", (), ("test_only_texts_in_the_data_in_the_order_that_the_trainer_reads",)),
    "R3": Line("No null, NaN, infinity or empty text, and no ragged n-tuple", (),
               ("test_no_null_no_nan_and_no_empty_text_in_a_column", "test_a_score_that_is_no_number_never_comes_into_the_data",
                "test_rows_are_never_ragged", "test_texts_that_no_trainer_takes_are_refused_with_their_ids")),
    "R4": Line("Optional fields are in all rows of all files, or in none", (),
               ("test_every_row_of_lines_has_the_same_fields_though_few_have_a_prompt", "test_scores_and_prompts_are_in_all_rows_or_in_none",
                "test_flagembedding_files_with_and_without_prompts_are_told_apart_by_their_fields")),
    "R5": Line("At least one negative a row, and as many as asked for where the loader repeats none", (),
               ("test_lists_are_lists_even_of_one_and_never_empty", "test_contrastors_rows_have_as_many_negatives_as_asked_and_name_their_objective")),
    "R6": Line("Lists are lists, even of one", (), ("test_lists_are_lists_even_of_one_and_never_empty",)),
    "R7": Line("Plain `.jsonl` but for contrastors", (), ("test_no_zipped_file_where_the_loader_skips_it_without_a_word",)),
    "R8": Line("Tabs and line ends in a TSV become blanks, and are counted", (),
               ("test_tabs_and_line_ends_are_counted_where_there_is_no_quoting", "test_tabs_and_quotes_in_captions_are_changed_and_counted")),
    "R9": Line("JSON in UTF-8, one type a field, ids strings, scores floats, no NaN", (),
               ("test_plain_utf8_one_object_a_line", "test_ids_stay_strings", "test_dates_alone_are_refused_and_never_become_timestamps",
                "test_a_score_that_is_no_number_never_comes_into_the_data")),
    "R10": Line("Written whole or not at all; `export.json` with versions, counts, hashes, and no time", (),
                ("test_every_file_is_described_with_its_hash", "test_the_description_matches_the_files_and_holds_no_time",
                 "test_every_file_is_held_against_its_hash", "test_killed_in_the_middle_it_goes_on_and_ends_the_same")),
    "R11": Line("Title and text are joined as `ingest.title_join` says, everywhere alike; formats with a field for titles get them apart, "
                "empty where there is none", (),
                ("test_title_and_text_become_one_as_the_template_says", "test_titles_are_joined_as_the_corpus_says_or_stand_apart",
                 "test_titles_that_are_joined_in_another_way_are_embedded_anew_and_exported_so", "test_tevatron_passages_all_have_a_title",
                 "test_a_blank_text_with_a_title_is_a_text")),
}  # fmt: skip

INPUT_TRAPS = {
    "A header that is none, or none where one is skipped": ("test_header_is_found_or_told",),
    "A relevance of 1.5 or 1e5, or below 0": ("test_bad_row_is_refused_with_its_place", "test_mteb", "test_fixture_comes_back_row_by_row"),
    "An id 0001 that becomes 1": ("test_lists_written_as_text_and_ids_as_they_are", "test_typed_columns_of_parquet_are_not_coerced"),
    "A list that is written as text": ("test_lists_written_as_text",),
    "A score or a label beside a pair, which may not be relevant": ("test_columns_that_cannot_be_told", "test_a_label_beside_named_columns_is_left_alone"),
    "Scores that are not as many as their texts": ("test_scores_of_another_length_than_the_texts_are_refused_or_set_aside",),
    "A negative that is a positive of the same query": ("test_flagembedding",),
    "One query in several splits": ("test_a_query_of_several_splits_is_left_out", "test_a_query_in_several_splits_is_in_train"),
    "UTF-8 that was read as Latin-1": ("test_msmarco",),
    "Quotes, tabs and line ends in cells": ("test_quoted_cells_hold_delimiters_and_lines", "test_quoted_ids_are_read_as_the_loader_of_beir_does"),
    "A file that is cut off, packed twice, or another kind of file": ("test_truncated_gzip_names_the_line", "test_file_that_cannot_be_read"),
    "A key of a tar with a dot; an archive that leads out of its folder or is a bomb": (
        "test_a_sample_that_cannot_be_used_is_named", "test_no_member_is_written_anywhere", "test_a_tar_that_breaks_off_or_is_a_bomb_is_refused"),
    "Documents and queries that judgements name and that are not there": (
        "test_missing_judgements_within_the_number_are_listed", "test_the_number_of_missing_judgements_is_told_in_full"),
}  # fmt: skip

TOP = """# Formats: what reads and writes each, and what shows it

Every schema that is read and written, and every rule that exports keep, with its tests. Trainers' packages and versions are in
[exports.md](exports.md); fields of each reader and target in [reference.md](reference.md). This page is generated:
`python -m tests.formats_table`.
"""


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def lines() -> Iterator[str]:
    for title, table, by in (("In", INPUTS, "Reader"), ("Out", OUTPUTS, "Target")):
        yield f"\n## {title}\n\n{row('Schema', by, 'Tests')}\n|---|---|---|"
        yield from (row(line.what, code(line.by), code(line.tests)) for line in table)
    yield f"\n## Rules\n\n{row('Rule', 'What it says', 'Tests')}\n|---|---|---|"
    yield from (row(name, line.what, code(line.tests)) for name, line in RULES.items())
    yield "\nThe traps of trainers, each with its tests, are in [exports.md](exports.md#traps). Those of what is read:"
    yield f"\n{row('Trap', 'Tests')}\n|---|---|"
    yield from (row(trap, code(tests)) for trap, tests in INPUT_TRAPS.items())


def page() -> str:
    return TOP + "\n".join(lines()) + "\n"


if __name__ == "__main__":
    PLACE.write_text(page(), encoding="utf-8")
