"""What trainers read wrongly without a word, by what it is, with the names of the tests that stand before it."""

TRAPS: dict[str, tuple[str, ...]] = {
    "An id, rank or score column is read as one more text": ("test_nothing_but_texts_and_a_label_reaches_the_trainer",),
    "Columns are told by position, not by name": ("test_only_texts_in_the_data_in_the_order_that_the_trainer_reads",),
    "A `negatives` column of lists is one odd input": ("test_nothing_but_texts_and_a_label_reaches_the_trainer",),
    "A null, a NaN or an empty text ends training at its batch": (
        "test_no_null_no_nan_and_no_empty_text_in_a_column",
        "test_a_score_that_is_no_number_never_comes_into_the_data",
    ),
    "Rows of n-tuples are ragged": ("test_rows_are_never_ragged",),
    "`prompt` in some rows or files turns into None in the others": (
        "test_every_row_of_lines_has_the_same_fields_though_few_have_a_prompt",
        "test_scores_and_prompts_are_in_all_rows_or_in_none",
        "test_flagembedding_files_with_and_without_prompts_are_told_apart_by_their_fields",
    ),
    "A row without a negative divides by zero": (
        "test_lists_are_lists_even_of_one_and_never_empty",
        "test_contrastors_rows_have_as_many_negatives_as_asked_and_name_their_objective",
    ),
    "A text in place of a list of one is split into characters": ("test_lists_are_lists_even_of_one_and_never_empty",),
    "`.jsonl.gz` is skipped": ("test_no_zipped_file_where_the_loader_skips_it_without_a_word",),
    "A tab or a line end in a TSV without quoting": ("test_tabs_and_line_ends_are_counted_where_there_is_no_quoting",),
    "Texts that all look like dates become timestamps": ("test_dates_alone_are_refused_and_never_become_timestamps",),
    "Ids that look like numbers become numbers": ("test_ids_stay_strings",),
    "A file half written, or changed since": (
        "test_every_file_is_described_with_its_hash",
        "test_every_file_is_held_against_its_hash",
    ),
    "Another file in a folder that is read whole": (
        "test_nothing_but_the_data_where_the_loader_reads_a_whole_folder",
        "test_a_file_that_the_trainer_would_read_as_well_is_found",
    ),
    "Tevatron reads `text`, its README says `document_text`": (
        "test_tevatron_documents_are_in_text_and_never_in_document_text",
    ),
    "Tevatron's reranker wants a title": ("test_tevatron_passages_all_have_a_title",),
    "contrastors counts characters where bytes are meant, under keys of three or four parts": (
        "test_contrastors_offsets_are_bytes_under_both_keys",
    ),
    "PyLate tells the query by the name of the first column": (
        "test_pylate_takes_the_first_column_for_the_query_and_skips_none",
    ),
    "PyLate takes a document that is missing for an empty text": (
        "test_pylate_distillation_has_every_document_and_rows_of_one_length",
    ),
    "ColBERT's ids are the numbers of lines": ("test_colbert_ids_are_the_numbers_of_lines",),
    "ColBERT puts a third column in front of the text": (
        "test_colbert_has_no_third_column_that_would_come_in_front_of_the_text",
    ),
    "GritLM takes a row with `text` for generation": (
        "test_gritlm_has_no_text_which_would_be_read_as_generative_data",
    ),
    "NeMo wants every positive, each question once, a path from the file": (
        "test_nemo_has_every_positive_each_question_once_and_a_path_from_the_file",
    ),
    "ms-swift's embedder takes exactly one positive, its reranker answers as the assistant": (
        "test_ms_swift_has_exactly_one_positive_and_rerankers_answer_as_the_assistant",
    ),
    "SPLADE splits a line into a fixed number of fields": (
        "test_splade_lines_have_as_many_fields_as_its_reader_splits",
    ),
    "DPR drops rows without a positive": ("test_dpr_mined_negatives_are_hard_negatives_and_every_row_has_a_positive",),
    "A pickle runs what it says": ("test_nothing_is_pickled",),
    "BEIR skips the first line of qrels, header or not": (
        "test_qrels_have_a_header_and_odd_ids_are_refused",
        "test_header_is_found_or_told",
    ),
    "open_clip reads captions with pandas: `NA` is missing, `0001` is 1": (
        "test_a_caption_that_pandas_takes_for_a_number_or_for_missing_is_left_out_and_counted",
        "test_tabs_and_quotes_in_captions_are_changed_and_counted",
    ),
    "A WebDataset key ends at its first dot": (
        "test_captions_and_pictures_go_to_open_clip_and_webdataset_by_themselves",
        "test_a_sample_that_cannot_be_used_is_named",
    ),
    "The hub's viewer fails on large row groups, and finds vectors": (
        "test_the_viewer_can_page_and_finds_no_vectors",
        "test_row_groups_are_bounded_in_rows_and_bytes",
        "test_the_viewer_reads_a_hundred_pictures_at_a_time",
    ),
}
