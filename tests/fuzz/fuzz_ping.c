/* The answers that fairway ping reads: in pieces they are the same as in one. */
#include "fuzz.h"
#include "ping_packet.h"

#include <string.h>

#define SIZE 5u /* of the bytes that were sent */

typedef struct outcome {
    size_t answers, errors, damaged;
    uint64_t numbers;
    int rc;
} outcome;

static outcome run(const uint8_t *data, size_t len, size_t piece)
{
    ping_reader reader;
    ping_answer answer;
    outcome seen = {.rc = ping_reader_init(&reader, SIZE)};
    for (size_t at = 0; !seen.rc && at < len;) {
        size_t n = len - at < piece ? len - at : piece, taken;
        uint8_t *copy = malloc(n);
        bool has_answer;
        FUZZ_CHECK(copy);
        memcpy(copy, data + at, n);
        seen.rc = ping_reader_push(&reader, copy, n, &taken, &has_answer, &answer);
        FUZZ_CHECK(seen.rc || (taken && taken <= n));
        if (!seen.rc && has_answer) {
            seen.answers++;
            seen.errors += answer.is_error;
            seen.damaged += answer.is_damaged;
            seen.numbers = seen.numbers * 31 + answer.number;
        }
        at += taken;
        free(copy);
    }
    ping_reader_fini(&reader);
    return seen;
}

/* What is written is read. */
static void check_own(uint64_t number)
{
    uint8_t packet[PING_HEAD_SIZE + SIZE];
    size_t len = ping_write(packet, number, SIZE);
    FUZZ_CHECK(len <= sizeof packet);
    outcome seen = run(packet, len, 1);
    FUZZ_CHECK(!seen.rc && seen.answers == 1 && !seen.damaged && !seen.errors &&
               seen.numbers == number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint64_t number = 0;
    if (!len)
        return 0;
    memcpy(&number, data, len < sizeof number ? len : sizeof number);
    check_own(number);
    outcome whole = run(data + 1, len - 1, len), parts = run(data + 1, len - 1, data[0] + 1u);
    FUZZ_CHECK(whole.rc == parts.rc && whole.answers == parts.answers &&
               whole.errors == parts.errors && whole.damaged == parts.damaged &&
               whole.numbers == parts.numbers);
    return 0;
}
