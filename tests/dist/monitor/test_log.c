#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "tests/support/command.h"
#include "tests/support/log_capture.h"

static LogCapture capture;

Test(log, levels_and_ranks)
{
    log_capture_open(&capture, 0, 0);
    log_write(&capture.log, LOG_INFO, "model %s", "t2t_vit_14");
    log_write(&capture.log, LOG_DEBUG, "too quiet");
    log_write(&capture.log, LOG_WARNING, "few images");
    log_close(&capture.log);
    cr_assert_eq(text_lines(capture.stream), 2);
    cr_assert_eq(text_lines(capture.file), 2);
    cr_assert(text_holds(capture.stream, " model t2t_vit_14\n"));
    cr_assert(text_holds(capture.stream, " warning: few images\n"));
    cr_assert(text_holds(capture.file, " info model t2t_vit_14\n"));
}

Test(log, names_in_messages_are_no_commands_to_a_terminal)
{
    log_capture_open(&capture, 0, 0);
    log_write(&capture.log, LOG_INFO, "run folder %s", "a\x1b[31m\xff");
    log_close(&capture.log);
    cr_assert(text_holds(capture.stream, " run folder a\\x1B[31m\\xFF\n"));
    cr_assert(text_holds(capture.file, " info run folder a\\x1B[31m\\xFF\n"));
}

Test(log, other_ranks_only_warn)
{
    log_capture_open(&capture, 3, 0);
    log_write(&capture.log, LOG_INFO, "hello");
    log_progress(&capture.log, "step 1");
    cr_assert(!file_exists(capture.file));
    log_write(&capture.log, LOG_WARNING, "slow disk");
    log_close(&capture.log);
    cr_assert_eq(text_lines(capture.stream), 1);
    cr_assert(text_holds(capture.stream, " warning: rank 3: slow disk\n"));
    cr_assert(text_holds(capture.file, " warning rank 3: slow disk\n"));
}

Test(log, status_line_is_cut_to_the_terminal_and_steps_aside)
{
    log_capture_open(&capture, 0, 11);
    log_status(&capture.log, "0123456789abcdef");
    log_write(&capture.log, LOG_INFO, "hello");
    log_status(&capture.log, "gr\xc3\xbc\xc3\x9f"
                             "e 1234567");
    log_status(&capture.log, "");
    log_close(&capture.log);
    char *text = text_read(capture.stream);
    const char *erase = "\r\033[K", *line = strstr(text, "hello\n");
    cr_assert_eq(strncmp(text, "\r0123456789\033[K", 14), 0);
    cr_assert_not_null(line);
    cr_assert_eq(strncmp(text + 14, erase, 4), 0, "the status line must be erased before a message");
    cr_assert_eq(strncmp(line + 6, "\r0123456789\033[K", 14), 0, "and drawn again behind it");
    cr_assert_not_null(strstr(text, "\rgr\xc3\xbc\xc3\x9f"
                                    "e 1234\033[K"));
    cr_assert_str_eq(text + strlen(text) - 4, erase);
    free(text);
    cr_assert_eq(text_lines(capture.file), 1);
}

Test(log, a_progress_line_is_shown_where_no_status_line_is)
{
    log_capture_open(&capture, 0, 0);
    log_progress(&capture.log, "step 10 of 20");
    log_close(&capture.log);
    cr_assert(text_holds(capture.stream, " step 10 of 20\n"));
    cr_assert(text_holds(capture.file, " info step 10 of 20\n"));
    remove(capture.stream);
    remove(capture.file);
    log_capture_open(&capture, 0, 40);
    log_progress(&capture.log, "step 10 of 20");
    log_close(&capture.log);
    cr_assert(!text_holds(capture.stream, "step 10"));
    cr_assert(text_holds(capture.file, " info step 10 of 20\n"));
}

Test(log, a_file_that_cannot_be_opened_is_named)
{
    char path[600];
    Error error = {0};
    log_capture_open(&capture, 0, 0);
    snprintf(path, sizeof path, "%s/absent/log.txt", temporary_folder());
    cr_assert_eq(log_file(&capture.log, path, &error), STATUS_FAILED);
    cr_assert_not_null(strstr(error.message, path));
    cr_assert_not_null(strstr(error.message, "No such file or directory"));
    log_write(&capture.log, LOG_INFO, "goes on");
    log_close(&capture.log);
    cr_assert(text_holds(capture.stream, " goes on\n"));
}

Test(log, a_message_beyond_a_line_is_cut_and_ends_it)
{
    char *text = malloc(10000);
    memset(text, 'x', 9999);
    text[9999] = 0;
    log_capture_open(&capture, 0, 0);
    log_write(&capture.log, LOG_INFO, "%s", text);
    log_write(&capture.log, LOG_INFO, "next");
    log_close(&capture.log);
    free(text);
    cr_assert_eq(text_lines(capture.stream), 2);
    cr_assert_eq(text_lines(capture.file), 2);
    cr_assert(text_holds(capture.stream, " next\n"));
    cr_assert(text_holds(capture.file, " info next\n"));
}

enum { WRITERS = 4, EACH = 200 };

static void *write_many(void *number)
{
    for (int i = 0; i < EACH; i++) log_write(&capture.log, LOG_INFO, "<%d %03d %0200d>", *(int *)number, i, i);
    return NULL;
}

/* Several threads: each line arrives whole, once, and those of one thread in their order. */
Test(log, lines_of_threads_stay_whole)
{
    pthread_t threads[WRITERS];
    int numbers[WRITERS], next[WRITERS] = {0};
    log_capture_open(&capture, 0, 0);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        cr_assert_eq(pthread_create(&threads[i], NULL, write_many, &numbers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    log_close(&capture.log);
    char *text = text_read(capture.file), *rest = NULL;
    int lines = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        int writer, i, again, end = 0;
        const char *body = strchr(line, '<');
        cr_assert_not_null(body, "%s", line);
        cr_assert_eq(sscanf(body, "<%d %d %d>%n", &writer, &i, &again, &end), 3, "%s", line);
        cr_assert(end > 200 && body[end] == 0 && i == again && i == next[writer], "%s", line);
        next[writer]++;
        lines++;
    }
    free(text);
    cr_assert_eq(lines, WRITERS * EACH);
    cr_assert_eq(text_lines(capture.stream), WRITERS * EACH);
}
