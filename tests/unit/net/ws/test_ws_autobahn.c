/*
 * The rules of RFC 6455 and RFC 7692, case by case, numbered as in the Autobahn test suite. Each
 * case is played to both roles, whole, byte by byte and in random chops: the bytes that the echoing
 * end writes, and the code that it closes with, must be the same. Sizes of group 9 are smaller.
 */
#include "wst.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_BYTES 8192 /* longer cases are not fed byte by byte, and in random chops once */

static size_t cases;

static void play(const char *id, const char *in, const char *out, bool server, size_t chop)
{
    wst_end end;
    wst_bytes bytes = {.data = NULL};
    char what[100];
    snprintf(what, sizeof what, "case %s, %s, chops of %zu", id, server ? "server" : "client",
             chop);
    wst_open(&end, "ws://h/", server, true, 0);
    wst_frames(&bytes, in, server);
    wst_feed_chopped(&end, &bytes, chop);
    wst_expect(&end, out, what);
    /* Idle again, it owns nothing. */
    if (!end.error && !end.closed && !fwi_ws_has_more(&end.ws))
        ck_assert_msg(!end.ws.shaking && !end.ws.pong, "%s", what);
    wst_free(&bytes);
    wst_fini(&end);
}

static bool is_short(const char *in)
{
    wst_bytes bytes = {.data = NULL};
    wst_frames(&bytes, in, false);
    size_t len = bytes.len;
    wst_free(&bytes);
    return len <= SHORT_BYTES;
}

static void check(const char *id, const char *in, const char *out)
{
    bool brief = is_short(in);
    cases++;
    srand((unsigned)cases);
    for (int server = 0; server < 2; server++) {
        play(id, in, out, server, SIZE_MAX);
        if (brief)
            play(id, in, out, server, 1);
        for (int seed = 0; seed < (brief ? 3 : 1); seed++)
            play(id, in, out, server, 0);
    }
}

typedef struct ws_case {
    const char *id, *in, *out;
} ws_case;

static void check_all(const ws_case *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(list[i].id, list[i].in, list[i].out);
}

#define CHECK_ALL(list) check_all(list, sizeof(list) / sizeof *(list))

/* ---- 1: echo; 2: pings; 3: reserved bits; 4: opcodes ---- */
static const ws_case framing[] = {
    {"1.1.1", "T X1000", "T X1000"},
    {"1.1.2", "T*125 X1000", "T*125 X1000"},
    {"1.1.3", "T*126 X1000", "T*126 X1000"},
    {"1.1.4", "T*127 X1000", "T*127 X1000"},
    {"1.1.5", "T*128 X1000", "T*128 X1000"},
    {"1.1.6", "T*65535 X1000", "T*65535 X1000"},
    {"1.1.7", "T*65536 X1000", "T*65536 X1000"},
    {"1.1.8", "T*65536 X1000", "T*65536 X1000"},
    {"1.2.1", "B X1000", "B X1000"},
    {"1.2.2", "B*125 X1000", "B*125 X1000"},
    {"1.2.3", "B*126 X1000", "B*126 X1000"},
    {"1.2.4", "B*127 X1000", "B*127 X1000"},
    {"1.2.5", "B*128 X1000", "B*128 X1000"},
    {"1.2.6", "B*65535 X1000", "B*65535 X1000"},
    {"1.2.7", "B*65536 X1000", "B*65536 X1000"},
    {"1.2.8", "B*65536 X1000", "B*65536 X1000"},
    {"2.1", "I X1000", "O X1000"},
    {"2.2", "I:Hello,_world! X1000", "O:Hello,_world! X1000"},
    {"2.3", "I$00fffefdfcfb00ff X1000", "O$00fffefdfcfb00ff X1000"},
    {"2.4", "I*125 X1000", "O*125 X1000"},
    {"2.5", "I*126 X1000", "X1002"},
    {"2.6", "I*125 X1000", "O*125 X1000"},
    {"2.7", "O X1000", "X1000"},
    {"2.8", "O:unasked_for X1000", "X1000"},
    {"2.9", "O:unasked_for I:ping X1000", "O:ping X1000"},
    {"2.10", "I:p-0 I:p-1 I:p-2 I:p-3 I:p-4 I:p-5 I:p-6 I:p-7 I:p-8 I:p-9 X1000",
     "O:p-0 O:p-1 O:p-2 O:p-3 O:p-4 O:p-5 O:p-6 O:p-7 O:p-8 O:p-9 X1000"},
    {"2.11", "I:q-0 I:q-1 I:q-2 I:q-3 I:q-4 I:q-5 I:q-6 I:q-7 I:q-8 I:q-9 X1000",
     "O:q-0 O:q-1 O:q-2 O:q-3 O:q-4 O:q-5 O:q-6 O:q-7 O:q-8 O:q-9 X1000"},
    {"3.1", "T/1:Hello", "X1002"},
    {"3.2", "T:Hello T/2:Hello I", "T:Hello X1002"},
    {"3.3", "T:Hello T/3:Hello I", "T:Hello X1002"},
    {"3.4", "T:Hello T/4:Hello I", "T:Hello X1002"},
    {"3.5", "B/5$00fffefd", "X1002"},
    {"3.6", "I/6:Hello", "X1002"},
    {"3.7", "X1000/7", "X1002"},
    {"4.1.1", "#3", "X1002"},
    {"4.1.2", "#4:reserved", "X1002"},
    {"4.1.3", "T:Hello #5 I", "T:Hello X1002"},
    {"4.1.4", "T:Hello #6:Hello I", "T:Hello X1002"},
    {"4.1.5", "T:Hello #7:Hello I", "T:Hello X1002"},
    {"4.2.1", "#11", "X1002"},
    {"4.2.2", "#12:reserved", "X1002"},
    {"4.2.3", "T:Hello #13 I", "T:Hello X1002"},
    {"4.2.4", "T:Hello #14:Hello I", "T:Hello X1002"},
    {"4.2.5", "T:Hello #15:Hello I", "T:Hello X1002"},
};

/* ---- 5: fragments ---- */
static const ws_case fragments[] = {
    {"5.1", "i:fragment1 C:fragment2", "X1002"},
    {"5.2", "o:fragment1 C:fragment2", "X1002"},
    {"5.3", "t:fragment1 C:fragment2 X1000", "T:fragment1fragment2 X1000"},
    {"5.4", "t:fragment1 C:fragment2 X1000", "T:fragment1fragment2 X1000"},
    {"5.5", "t:fragment1 C:fragment2 X1000", "T:fragment1fragment2 X1000"},
    {"5.6", "t:fragment1 I:ping C:fragment2 X1000", "O:ping T:fragment1fragment2 X1000"},
    {"5.7", "t:fragment1 I:ping C:fragment2 X1000", "O:ping T:fragment1fragment2 X1000"},
    {"5.8", "t:fragment1 I:ping C:fragment2 X1000", "O:ping T:fragment1fragment2 X1000"},
    {"5.9", "C:nothing T:Hello", "X1002"},
    {"5.10", "C:nothing T:Hello", "X1002"},
    {"5.11", "C:nothing T:Hello", "X1002"},
    {"5.12", "c:nothing T:Hello", "X1002"},
    {"5.13", "c:nothing T:Hello", "X1002"},
    {"5.14", "c:nothing T:Hello", "X1002"},
    {"5.15", "t:fragment1 C:fragment2 c:fragment3 T:fragment4", "T:fragment1fragment2 X1002"},
    {"5.16", "c:fragment1 t:fragment2 C:fragment3 c:fragment1 t:fragment2 C:fragment3", "X1002"},
    {"5.17", "C:fragment1 t:fragment2 C:fragment3 C:fragment1 t:fragment2 C:fragment3", "X1002"},
    {"5.18", "t:fragment1 T:fragment2", "X1002"},
    {"5.19", "t:one c:two I:ping-1 c:three c:four I:ping-2 C:five X1000",
     "O:ping-1 O:ping-2 T:onetwothreefourfive X1000"},
    {"5.20", "t:one c:two I:ping-1 c:three c:four I:ping-2 C:five X1000",
     "O:ping-1 O:ping-2 T:onetwothreefourfive X1000"},
};

/* ---- 6.1 to 6.4: UTF-8 across frames ---- */
#define GREEK    "cebae1bdb9cf83cebcceb5"
#define BAD_TEXT GREEK "eda080656469746564" /* a surrogate in the middle */
static const ws_case utf8_frames[] = {
    {"6.1.1", "T X1000", "T X1000"},
    {"6.1.2", "t c C X1000", "T X1000"},
    {"6.1.3", "t c:middle C X1000", "T:middle X1000"},
    {"6.2.1", "T$48656c6c6fc2b540c39fc3b6c3a4 X1000", "T$48656c6c6fc2b540c39fc3b6c3a4 X1000"},
    {"6.2.2", "t$48656c6c6fc2b540c39f C$c3b6c3a4 X1000", "T$48656c6c6fc2b540c39fc3b6c3a4 X1000"},
    {"6.2.3", "t$48 c$c2 c$b5 c$40 c$c3 c$9f C$21 X1000", "T$48c2b540c39f21 X1000"},
    {"6.2.4", "t$ce c$ba c$e1 c$bd c$b9 c$cf c$83 c$ce c$bc c$ce C$b5 X1000", "T$" GREEK " X1000"},
    {"6.3.1", "T$" BAD_TEXT, "X1007"},
    {"6.3.2", "t$ce c$ba c$e1 c$bd c$b9 c$ed c$a0 c$80 C$65", "X1007"},
    {"6.4.1", "t$" GREEK " c$f4908080 C$656469746564", "X1007"},
    {"6.4.2", "t$" GREEK "f4 c$90 C$8080656469746564", "X1007"},
    /* In one frame, of which the rest is still to come. */
    {"6.4.3", "t$" GREEK " c$f4908080", "X1007"},
    {"6.4.4", "t$" GREEK "f4 c$90", "X1007"},
};

static void check_utf8(const char *id, bool valid, const char *hex)
{
    char in[600], out[600];
    snprintf(in, sizeof in, "T$%s X1000", hex);
    snprintf(out, sizeof out, "T$%s X1000", hex);
    check(id, in, valid ? out : "X1007");
}

typedef struct sequences {
    unsigned group; /* 6.group.n */
    bool valid;
    const char *const *hex; /* ends with NULL */
} sequences;

#define SEQUENCES(...)                                                                             \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* After Markus Kuhn's list of hard cases for decoders. 6.6 has all prefixes of a word. */
static const sequences utf8_sequences[] = {
    {5, true,
     SEQUENCES("68656c6c6f24776f726c64", "68656c6c6fc2a2776f726c64", "68656c6c6fe282ac776f726c64",
               "68656c6c6ff0a4ada2776f726c64", GREEK)},
    {7, true, SEQUENCES("00", "c280", "e0a080", "f0908080")},
    {8, false, SEQUENCES("f888808080", "fc8480808080")},
    {9, true, SEQUENCES("7f", "dfbf", "efbfbf", "f48fbfbf")},
    {10, false, SEQUENCES("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf")},
    {11, true, SEQUENCES("ed9fbf", "ee8080", "efbfbd", "f48fbfbf")},
    {11, false, SEQUENCES("f4908080")},
    {12, false,
     SEQUENCES("80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf",
               "808182838485868788898a8b8c8d8e8f90a0b0be")},
    {13, false,
     SEQUENCES("c020c120c220df20", "e020e120e220ef20", "f020f120f220f720", "f820f920fa20", "fc20")},
    {14, false,
     SEQUENCES("c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf",
               "fdbfbfbfbf")},
    {15, false, SEQUENCES("c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf")},
    {16, false, SEQUENCES("fe", "ff", "fefeffff")},
    {17, false, SEQUENCES("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af")},
    {18, false, SEQUENCES("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf")},
    {19, false, SEQUENCES("c080", "e08080", "f0808080", "f880808080", "fc8080808080")},
    {20, false, SEQUENCES("eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf")},
    {21, false,
     SEQUENCES("eda080edb080", "eda080edbfbf", "edadbfedb080", "edadbfedbfbf", "edae80edb080",
               "edae80edbfbf", "edafbfedb080", "edafbfedbfbf")},
    {23, true, SEQUENCES("efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd", "efbfbe", "efbfbf")},
};

static void check_prefixes(void)
{
    static const bool whole[] = {false, true,  false, false, true, false,
                                 true,  false, true,  false, true};
    for (size_t n = 1; n <= sizeof whole; n++) {
        char id[40], hex[sizeof GREEK];
        snprintf(id, sizeof id, "6.6.%zu", n);
        snprintf(hex, sizeof hex, "%.*s", (int)(2 * n), GREEK);
        check_utf8(id, whole[n - 1], hex);
    }
}

/* Characters that Unicode has set aside are valid all the same. */
static void check_non_characters(void)
{
    unsigned n = 0;
    char id[40], hex[20];
    for (unsigned plane = 0; plane <= 16; plane++)
        for (unsigned last = 0xfffe; last <= 0xffff; last++) {
            unsigned c = plane << 16 | last;
            if (plane)
                snprintf(hex, sizeof hex, "%02x%02x%02x%02x", 0xf0 | c >> 18, 0x80 | (c >> 12 & 63),
                         0x80 | (c >> 6 & 63), 0x80 | (c & 63));
            else
                snprintf(hex, sizeof hex, "efbf%02x", 0x80 | (c & 63));
            snprintf(id, sizeof id, "6.22.%u", ++n);
            check_utf8(id, true, hex);
        }
}

/* ---- 7: closing ---- */
static const ws_case closing[] = {
    {"7.1.1", "T:Hello X1000", "T:Hello X1000"},
    {"7.1.2", "X1000 X1000", "X1000"},
    {"7.1.3", "X1000 I", "X1000"},
    {"7.1.4", "X1000 T:Hello", "X1000"},
    {"7.1.5", "t:fragment1 X1000 C:fragment2", "X1000"},
    {"7.1.6", "T*262144 T:Hello X1000 I", "T*262144 T:Hello X1000"},
    {"7.3.1", "X-", "X-"},
    {"7.3.2", "#8:a", "X1002"},
    {"7.3.3", "X1000", "X1000"},
    {"7.3.4", "X1000:Hello_World!", "X1000"},
    {"7.3.5",
     "X1000:"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "X1000"},
    {"7.3.6", "#8*126", "X1002"},
    {"7.5.1", "X1000$" BAD_TEXT, "X1007"},
    {"7.13.1", "X5000", "X1002"},
    {"7.13.2", "X65535", "X1002"},
};

static void check_codes(unsigned group, bool valid, const unsigned *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char id[40], in[40];
        snprintf(id, sizeof id, "7.%u.%zu", group, i + 1);
        snprintf(in, sizeof in, "X%u", codes[i]);
        check(id, in, valid ? in : "X1002");
    }
}

/* ---- 9: sizes ---- */
static char *fragmented(char kind, size_t total, size_t piece)
{
    size_t count = (total + piece - 1) / piece, size = count * 12 + 20;
    char *script = malloc(size), *p = script;
    for (size_t left = total; left; left -= left < piece ? left : piece) {
        bool first = left == total, last = left <= piece;
        char c = first ? kind : 'C';
        p += snprintf(p, size - (size_t)(p - script), "%c*%zu ", last ? c : c | 0x20,
                      last ? left : piece);
    }
    snprintf(p, size - (size_t)(p - script), "X1000");
    return script;
}

static void check_sizes(void)
{
    char id[40], in[40];
    static const char kinds[] = "TB";
    /* 64 KiB to 1 MiB in one frame; their 16 MiB are over our limit. */
    static const size_t sizes[] = {65536, 131072, 262144, 524288, 1000000, 1048576};
    for (unsigned kind = 0; kind < 2; kind++)
        for (unsigned i = 0; i < 6; i++) {
            snprintf(id, sizeof id, "9.%u.%u", kind + 1, i + 1);
            snprintf(in, sizeof in, "%c*%zu X1000", kinds[kind], sizes[i]);
            check(id, in, in);
        }
    /* 64 KiB in pieces of 64 bytes to all of it. */
    for (unsigned kind = 0; kind < 2; kind++)
        for (unsigned i = 0; i < 9; i++) {
            size_t piece = i == 8 ? 65536 : (size_t)64 << i;
            snprintf(id, sizeof id, "9.%u.%u", kind + 3, i + 1);
            snprintf(in, sizeof in, "%c*65536 X1000", kinds[kind]);
            char *script = fragmented(kinds[kind], 65536, piece);
            check(id, script, in);
            free(script);
        }
}

/* 1 MiB that comes in chops of 64 to 2048 bytes. */
static void check_chops(void)
{
    char id[40], in[40];
    for (unsigned kind = 0; kind < 2; kind++)
        for (unsigned i = 0; i < 6; i++) {
            snprintf(id, sizeof id, "9.%u.%u", kind + 5, i + 1);
            snprintf(in, sizeof in, "%c*1048576 X1000", "TB"[kind]);
            cases++;
            play(id, in, in, true, (size_t)64 << i);
            play(id, in, in, false, (size_t)64 << i);
        }
}

/* A hundred messages of 0 to 16384 bytes. */
static void check_many(void)
{
    static const unsigned sizes[] = {0, 16, 64, 256, 1024, 4096};
    char id[40], word[20];
    for (unsigned kind = 0; kind < 2; kind++)
        for (unsigned i = 0; i < 6; i++) {
            char script[100 * 20 + 10] = "";
            snprintf(id, sizeof id, "9.%u.%u", kind + 7, i + 1);
            snprintf(word, sizeof word, "%c*%u ", "TB"[kind], sizes[i]);
            for (int n = 0; n < 100; n++)
                strcat(script, word);
            strcat(script, "X1000");
            check(id, script, script);
        }
}

static void check_utf8_sequences(void)
{
    for (size_t i = 0; i < sizeof utf8_sequences / sizeof *utf8_sequences; i++) {
        const sequences *group = &utf8_sequences[i];
        for (unsigned n = 0; group->hex[n]; n++) {
            char id[40];
            snprintf(id, sizeof id, "6.%u.%u", group->group, n + 1);
            check_utf8(id, group->valid, group->hex[n]);
        }
    }
}

START_TEST(every_case)
{
    static const unsigned good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
                                    1010, 1011, 3000, 3999, 4000, 4999};
    static const unsigned bad[] = {0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999};
    CHECK_ALL(framing);
    CHECK_ALL(fragments);
    CHECK_ALL(utf8_frames);
    check_utf8_sequences();
    check_prefixes();
    check_non_characters();
    CHECK_ALL(closing);
    check_codes(7, true, good, sizeof good / sizeof *good);
    check_codes(9, false, bad, sizeof bad / sizeof *bad);
    check_sizes();
    check_chops();
    check_many();
    char *script = fragmented('T', 65536, 1300);
    check("10.1.1", script, "T*65536 X1000");
    free(script);
    printf("%zu cases\n", cases);
    ck_assert_uint_ge(cases, 300);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws cases");
    TCase *tcase = tcase_create("cases");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_case);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
