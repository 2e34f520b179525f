"""The promises of docs/promises.md: what tests each of them, and which bug they must notice."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SOAKS = sorted(FOLDER.glob("soak_*.py"))


@dataclass(frozen=True)
class Row:
    """A promise.

    Attributes:
        promise: in one sentence.
        tests: those of `make test` that hold it, `file::function`.
        planted: bugs in `tests/mutants/` that those must notice.
        limit: what the promise does not cover; "" if nothing is known.
    """

    promise: str
    tests: tuple[str, ...]
    planted: tuple[str, ...]
    limit: str = ""


def of(file: str, *names: str) -> tuple[str, ...]:
    """Return the names of tests of a file."""
    return tuple(f"tests/{file}.py::test_{name}" for name in names)


ROWS: dict[str, Row] = {
    "R1": Row(
        "After a kill or a failing disk at any moment, a run has a save that loads, and it ends in "
        "the same bits as a run that was not disturbed.",
        (
            *of("engine/test_checkpoint", "a_crash_at_any_file_operation_leaves_a_loadable_state"),
            *of("engine/test_resume", "a_killed_run_resumes_bit_exactly"),
            *of(
                "test_storage",
                "the_content_is_on_the_disk_before_its_name_and_the_name_before_the_end",
            ),
        ),
        ("storage-in-place", "storage-no-fsync", "storage-folder-not-synced"),
    ),
    "R2": Row(
        "A full disk ends a command with exit code 6, the path and the free space; what was there "
        "before is untouched.",
        (
            *of("engine/test_checkpoint", "disk_errors_are_told_and_leave_the_old_state"),
            *of("test_storage", "the_disks_refusal_names_path_and_free_space"),
        ),
        ("outputs-full-disk-as-failure", "outputs-write-failure-ends-run"),
        "Free space is checked before each save, not before the first epoch.",
    ),
    "R3": Row(
        "A save that has changed by one bit, is cut off or lacks a file is refused; resuming uses "
        "the newest intact one and says which one it skipped.",
        (
            *of("engine/test_checkpoint", "damage_is_found_and_the_newest_intact_state_is_used"),
            *of("engine/test_resume", "a_damaged_last_save_falls_back_and_says_so"),
            *of("test_model_files", "every_flipped_byte_of_a_model_is_an_error"),
        ),
        ("checkpoint-stray-file",),
    ),
    "R4": Row(
        "Removing old saves never removes the newest intact one.",
        of("engine/test_checkpoint", "old_states_go_in_numeric_order_and_two_stay"),
        ("promises-newest-pruned",),
    ),
    "R5": Row(
        "A run that was stopped anywhere, also in an epoch or in validation, ends in the same "
        "bits, also with another number of workers.",
        (
            *of("engine/test_resume", "a_stopped_run_resumes_bit_exactly"),
            *of("tasks/test_detect_resume", "a_stopped_run_ends_in_the_same_bits"),
        ),
        ("engine-augmentation-repeats", "resume-edited-configuration"),
    ),
    "R6": Row(
        "A save that lacks a part is refused, and no part of it can be forgotten without changing "
        "the result.",
        (
            *of("engine/test_resume", "the_comparison_notices_a_lost_part"),
            *of("engine/test_resume", "missing_parts_are_refused_by_name"),
        ),
        ("promises-loose-names",),
    ),
    "R7": Row(
        "Weights are loaded completely or not at all: names, shapes, types, classes and "
        "preprocessing must fit.",
        (
            *of("tasks/test_continued", "weights_that_cannot_be_begun_with"),
            *of("models/test_import", "keys_that_do_not_fit_are_listed"),
        ),
        ("promises-loose-names",),
    ),
    "R8": Row(
        "SIGINT and SIGTERM end every verb within seconds with 130 and 143, leave no process, and "
        "lose nothing.",
        (
            *of("engine/test_signals", "every_verb_stops_at_a_signal"),
            *of("engine/test_signals", "a_second_signal_ends_the_process_with_its_code"),
            *of("engine/test_predict", "a_signal_ends_at_a_whole_line"),
        ),
        ("streams-second-signal-silent", "answers-signal-of-every-rank"),
        "SIGUSR1 has no meaning.",
    ),
    "R9": Row(
        "No number that is not finite is applied to the weights or saved; training ends with 5 at "
        "that step and names the loss term and the images.",
        (
            *of("engine/test_checkpoint", "nothing_non_finite_is_saved"),
            *of("engine/test_signals", "a_diverging_training_ends"),
            *of(
                "engine/test_waiting",
                "a_step_that_is_not_finite_changes_nothing_until_it_is_reported",
            ),
        ),
        ("engine-nan-passes", "engine-late-step-applied", "engine-late-wrong-step"),
        "The batch itself is not saved; its images are named.",
    ),
    "R10": Row(
        "Loading a model file runs no code.",
        (
            *of("models/test_weights", "a_hostile_file_runs_no_code"),
            *of("models/test_import", "a_file_that_would_run_code_is_refused_in_one_line"),
            *of("test_model_files", "hostile_and_foreign_files_are_refused"),
        ),
        ("imports-any-class-unpickled",),
    ),
    "R11": Row(
        "A model file that claims or unpacks to more than it holds is refused within 2 seconds and "
        "200 MB.",
        of("reliability/test_swollen_models", "a_file_that_swells_is_refused"),
        ("promises-bomb-unpacked", "promises-tensors-uncounted", "promises-values-repeated"),
        "Files that torch wrote before version 1.6 cannot be measured before they are read.",
    ),
    "R12": Row(
        "Published weights in the cache are compared with the hash in their name at each load.",
        of(
            "models/test_weights",
            "published_weights_are_taken_from_the_cache_and_verified_each_time",
        ),
        ("promises-cache-unverified",),
        "torchvision publishes 8 of the 64 digits of the hash; a damaged file is refused and stays "
        "where it is.",
    ),
    "R13": Row(
        "No command uses the network unless it is asked to; URLs as inputs are refused.",
        (
            *of("models/test_weights", "offline_refuses_at_once_and_says_where_the_file_belongs"),
            *of("engine/test_predict", "inputs_come_from_files_folders_globs_lists_and_stdin"),
        ),
        ("engine-openvino-telemetry",),
        "All tests of `make test` run under a guard that fails on any other connection.",
    ),
    "R14": Row(
        "A configuration is data: no tags, aliases, repeated or unknown keys, and no depth or size "
        "that exhausts anything.",
        (
            *of("test_hostile_files", "a_hostile_file_is_refused_in_words"),
            *of("test_names", "a_misspelt_choice_in_a_configuration_is_told_with_the_nearest"),
        ),
        ("readers-yaml-alias", "readers-yaml-key-twice", "readers-yaml-tag"),
    ),
    "R15": Row(
        "`cvkit data check` finds each defect of its catalogue and all of them in one pass, and "
        "nothing in sound data.",
        of(
            "data/test_data_rules",
            "every_rule_finds_the_smallest_dataset_that_breaks_it",
            "a_dataset_in_which_all_is_well_has_no_findings",
            "every_rule_has_a_minimal_bad_dataset",
            "all_defects_of_all_files_are_found_in_one_pass",
            "the_catalogue_only_grows",
        ),
        ("datacheck-first-defect-only", "datacheck-code-without-rule"),
    ),
    "R16": Row(
        "Labels are proven to be in range before the first step.",
        of("data/test_masks", "values_outside_the_classes_name_file_value_and_remedy"),
        ("promises-mask-values",),
    ),
    "R17": Row(
        "No path in a file leads out of its dataset, and no result is written outside --out.",
        of("data/test_hostile", "a_spoilt_file_is_read_or_refused_in_words"),
        ("readers-absolute-path", "readers-upwards-path"),
        "Symbolic links in the dataset are followed.",
    ),
    "R18": Row(
        "An XML file with a DTD, entities, endless depth or size is refused.",
        (
            *of("data/test_data_rules", "every_rule_finds_the_smallest_dataset_that_breaks_it"),
            *of("reliability/test_deep_xml", "deep_elements_are_refused"),
        ),
        ("promises-dtd", "promises-deep-xml"),
        "A VOC file may have 10 MB, which take up to 200 MB while they are read.",
    ),
    "R19": Row(
        "Readers of files read any content or refuse it in words.",
        of("data/test_hostile", "a_spoilt_file_is_read_or_refused_in_words"),
        ("readers-rle-size-unbounded", "readers-corner-unbounded"),
    ),
    "R20": Row(
        "Each kind of image has documented pixels or a typed error, the same for all commands.",
        of("reliability/test_turned_tiffs", "turned_pixels_are_the_pixels_turned")
        + of(
            "data/test_decode",
            "exif_orientation_is_applied",
            "sixteen_bit_grey_keeps_256_levels",
            "palette_is_looked_up_with_its_transparency",
            "unusable_content_is_a_typed_error_that_names_the_file",
        ),
        ("data-exif-ignored", "data-alpha-black", "data-wide-low-byte", "promises-turned-maps"),
    ),
    "R21": Row(
        "An image that claims too many pixels is refused before it is decoded, and the largest "
        "that is read takes at most seven bytes a pixel.",
        (
            *of("data/test_decode", "size_limit_is_exactly_one_hundred_megapixels"),
            *of("reliability/test_large_images", "bands_have_the_pixels_of_the_whole"),
        ),
        ("promises-bands",),
    ),
    "R22": Row(
        "Any folder can be walked: loops, pipes, sockets, devices and names that are no text; each "
        "entry is in the results or in the failures once.",
        (
            *of("data/test_unreadable", "links_that_lead_to_nothing_are_lost_and_circles_are_not"),
            *of("engine/test_predict", "names_that_are_no_utf8_survive"),
        ),
        ("outputs-linked-circles-twice", "outputs-links-to-nothing-vanish"),
    ),
    "R23": Row(
        "Inputs are never modified.",
        of("engine/test_predict", "inputs_are_never_modified"),
        ("predict-out-in-inputs",),
    ),
    "R24": Row(
        "A video that lacks more than 1 % of its frames, and more than one, is reported.",
        (
            *of("data/test_video_data", "broken_videos_are_named"),
            *of("reliability/test_cut_videos", "a_program_stream_that_breaks_off_is_named"),
        ),
        ("frames-damage-unsaid", "promises-mpeg-cut"),
        "A raw MPEG stream without packets that is cut looks whole.",
    ),
    "R25": Row(
        "One bad image costs one image, and the results of the others do not depend on it.",
        of(
            "engine/test_predict",
            "one_bad_image_costs_one_image",
            "too_many_failures_stop_the_run",
        ),
        ("pipeline-failures-take-places", "pipeline-failures-after-the-last"),
    ),
    "R26": Row(
        "A prediction that was killed continues to the same files, byte for byte.",
        of("engine/test_predict", "a_killed_prediction_resumes_to_the_same_files"),
        ("predict-resumed-in-other-batches", "ranks-left-lines-ignored"),
    ),
    "R27": Row(
        "Results are never lost or mixed: no name collides, full folders are refused, two "
        "processes cannot share one, and files are whole.",
        (
            *of(
                "engine/test_predict",
                "output_mirrors_the_input_tree_and_never_collides",
                "a_full_folder_is_refused_without_overwrite",
                "two_predictions_cannot_share_a_folder",
            ),
            *of("test_held_folders", "a_folder_in_use_takes_no_predictions"),
        ),
        ("outputs-names-by-stem", "outputs-names-by-case", "predict-finish-unlocked"),
        "There is no list of hashes of the results.",
    ),
    "R28": Row(
        "COCO numbers equal those of pycocotools to the last bit, and the others those of "
        "independent references.",
        (
            *of("metrics/test_box_metrics", "the_fast_engine_equals_pycocotools_to_the_last_bit"),
            *of("metrics/test_box_metrics", "voc_curves_equal_the_kits_own_loop"),
            *of("metrics/test_confusion", "numbers_equal_a_pixel_by_pixel_reference"),
        ),
        ("metrics-coco-id-0", "metrics-crowd-iou", "metrics-voc-no-envelope"),
    ),
    "R29": Row(
        "A number does not depend on the batch size, the workers or the number of processes.",
        (
            *of("engine/test_ranks", "evaluations_are_those_of_one_process"),
            *of("engine/test_loader", "evaluation_visits_every_sample_once_whatever_the_processes"),
        ),
        ("engine-evaluation-misses-one", "ranks-sums-of-ranks"),
    ),
    "R30": Row(
        "What is empty or absent has a defined value: null, 0, or an error.",
        (
            *of("metrics/test_box_metrics", "no_detections_score_0_and_no_objects_score_nothing"),
            *of("metrics/test_classification", "an_absent_class_is_undefined_not_zero"),
            *of("metrics/test_confusion", "perfect_prediction_is_one_and_nothing_is_null"),
        ),
        ("metrics-absent-as-zero",),
    ),
    "R31": Row(
        "Memory stays flat in long trainings, evaluations and predictions.",
        (
            *of("engine/test_reading_ahead", "a_window_is_bounded_in_bytes_beyond_one_batch"),
            *of("engine/test_predict", "resume_reads_its_journal_line_by_line"),
        ),
        ("pipeline-window-of-any-bytes", "pipeline-reads-everything-at-once"),
    ),
    "R32": Row(
        "A worker that dies or a machine that is full ends a command with words, never in a wait.",
        (
            *of("engine/test_loader", "what_does_not_fit_into_shared_memory_comes_through_pipes"),
            *of("engine/test_loader", "without_semaphores_this_process_reads"),
            *of("engine/test_loader", "workers_end_with_a_process_that_is_killed"),
        ),
        ("loader-shared-memory-unasked", "streams-workers-outlive"),
    ),
    "R33": Row(
        "The same command gives the same bytes, whatever the number of workers.",
        (
            *of("engine/test_resume", "workers_do_not_change_a_run"),
            *of("engine/test_loader", "training_order_is_a_function_of_seed_and_epoch"),
        ),
        ("data-seed-ignored", "engine-order-ignores-seed"),
        "On the same kind of machine, with the same versions and number of threads.",
    ),
    "R34": Row(
        "Of processes that work together, all end within a minute if one does, and the resumed run "
        "has the bits of one that was not disturbed.",
        (
            *of("engine/test_ranks", "a_dead_rank_is_named_and_nothing_is_lost"),
            *of("engine/test_ranks", "a_signal_to_one_rank_stops_all"),
        ),
        ("ranks-signal-counts-twice", "answers-failure-of-every-rank"),
    ),
    "R35": Row(
        "A failure is at most five lines without a traceback, and its exit code is documented; a "
        "wheel has the files of the tree and the same bytes each time.",
        (
            *of("test_failures", "a_failure_is_one_line_with_its_exit_code"),
            *of("test_answers", "every_failure_of_a_command_is_one_object"),
        ),
        ("cli-json-variable",),
    ),
}
