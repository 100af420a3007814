/* TLS against the openssl program, as client and as server. */
#include "tlst.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WORDS "some words for the other side"
#define SDROW "edis rehto eht rof sdrow emos"

static tlst_server server;
static tlst_end client;
static const char *const versions[] = {"-tls1_2", "-tls1_3"}, *const names[] = {"TLSv1.2",
                                                                                "TLSv1.3"};

/* Runs the loop until the program has printed the text. */
static void expect_print(fwt_proc *proc, const char *text)
{
    for (int i = 0; !fwt_proc_printed(proc, text) && i < TLST_WAIT_MS / 10; i++)
        fwt_run_for(10);
    fwt_proc_expect(proc, text, 1000); /* fails with what it has printed */
}

/* ---- s_client against us ---- */

/* Says WORDS, and prints what comes back. */
static fwt_proc *start_client(const char *version, const char *more)
{
    char command[2000];
    snprintf(command, sizeof command,
             "echo '" WORDS "' | "
             "openssl s_client -connect 127.0.0.1:%d -CAfile %s -verify_return_error "
             "-verify_ip 127.0.0.1 -ign_eof %s %s",
             server.port, tlst_file("ca.pem"), version, more);
    const char *argv[] = {"sh", "-c", command, NULL};
    return fwt_proc_start(argv);
}

START_TEST(its_client_speaks_to_our_server)
{
    tlst_serve(&server, "&alpn=fw/1,h2");
    fwt_proc *proc = start_client(versions[_i], "-alpn h2,fw/1");
    fwt_run_count(&server.ends[0].len, strlen(WORDS), TLST_WAIT_MS);
    expect_print(proc, "ALPN protocol: fw/1");
    expect_print(proc, "Verify return code: 0 (ok)");
    ck_assert_str_eq(server.ends[0].info.version, names[_i]);
    ck_assert_str_eq(server.ends[0].info.alpn, "fw/1");
    fw_conn_close(server.ends[0].conn, UV_EOF);
    expect_print(proc, WORDS);
    ck_assert_int_eq(fwt_proc_wait(proc, TLST_WAIT_MS), 0); /* it has seen a close_notify */
    fwt_proc_end(proc);
    tlst_stop(&server);
}
END_TEST

START_TEST(its_client_resumes)
{
    char more[400], path[320];
    snprintf(path, sizeof path, "%s", tlst_file(_i ? "session13" : "session12"));
    tlst_serve(&server, "");
    for (size_t round = 0; round < 2; round++) {
        snprintf(more, sizeof more, "-sess_%s %s", round ? "in" : "out", path);
        fwt_proc *proc = start_client(versions[_i], more);
        fwt_run_count(&server.accepted, round + 1, TLST_WAIT_MS);
        expect_print(proc, WORDS);
        ck_assert(fwt_proc_printed(proc, round ? "Reused, TLSv" : "New, TLSv"));
        ck_assert_int_eq(server.ends[round].info.resumed, round == 1);
        fw_conn_close(server.ends[round].conn, UV_EOF);
        fwt_run_count(&server.ends[round].closed, 1, TLST_WAIT_MS);
        (void)fwt_proc_wait(proc, TLST_WAIT_MS);
        fwt_proc_end(proc);
    }
    tlst_stop(&server);
}
END_TEST

START_TEST(its_client_shows_a_certificate)
{
    char more[700];
    snprintf(more, sizeof more, "&ca=%s", tlst_file("ca.pem"));
    tlst_serve(&server, more);
    snprintf(more, sizeof more, "-cert %s -key %s", tlst_file("client.pem"),
             tlst_file("client.key"));
    fwt_proc *proc = start_client(versions[_i], more);
    fwt_run_count(&server.ends[0].len, strlen(WORDS), TLST_WAIT_MS);
    ck_assert_str_eq(server.ends[0].info.peer_subject, "CN=client");
    fwt_proc_end(proc);
    snprintf(more, sizeof more, "-cert %s -key %s", tlst_file("stranger.pem"),
             tlst_file("stranger.key"));
    proc = start_client(versions[_i], more);
    expect_print(proc, "alert unknown ca");
    fwt_proc_end(proc);
    proc = start_client(versions[_i], "");
    expect_print(proc, _i ? "alert certificate required" : "alert handshake failure");
    fwt_proc_end(proc);
    ck_assert_uint_eq(server.accepted, 1);
    tlst_stop(&server);
}
END_TEST

START_TEST(its_client_may_not_do_everything)
{
    tlst_serve(&server, "&min=1.3&alpn=fw/1");
    fwt_proc *proc = start_client("-tls1_2", "");
    expect_print(proc, "alert protocol version");
    fwt_proc_end(proc);
    proc = start_client("-tls1_3", "-alpn h2");
    expect_print(proc, "alert no application protocol");
    fwt_proc_end(proc);
    tlst_stop(&server);
    tlst_serve(&server, "");
    proc = start_client("-tls1_1", "-cipher DEFAULT@SECLEVEL=0");
    expect_print(proc, "alert protocol version");
    fwt_proc_end(proc);
    proc = start_client("-tls1_2", "-cipher AES128-SHA:ECDHE-ECDSA-AES128-SHA");
    expect_print(proc, "alert handshake failure");
    fwt_proc_end(proc);
    ck_assert_uint_eq(server.accepted, 0);
    tlst_stop(&server);
}
END_TEST

/* ---- s_server against us ---- */

/* Sends each line back, from its end to its beginning. */
static fwt_proc *start_server(int port, const char *version, const char *more)
{
    char command[2000];
    snprintf(command, sizeof command,
             "exec openssl s_server -accept 127.0.0.1:%d -rev %s %s </dev/null", port, version,
             more);
    const char *argv[] = {"sh", "-c", command, NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    fwt_proc_expect(proc, "ACCEPT", TLST_WAIT_MS);
    return proc;
}

static fwt_proc *start_usual_server(int port, const char *version, const char *more)
{
    char all[1500];
    snprintf(all, sizeof all, "-cert %s -key %s %s", tlst_file("server.pem"),
             tlst_file("server.key"), more);
    return start_server(port, version, all);
}

START_TEST(our_client_speaks_to_its_server)
{
    int port = fwt_free_port();
    fwt_proc *proc = start_usual_server(port, versions[_i], "-alpn fw/1");
    for (int round = 0; round < 3; round++) {
        tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&alpn=h2,fw/1", port,
                  tlst_file("ca.pem"));
        tlst_say(&client, WORDS "\n");
        tlst_expect(&client, SDROW "\n");
        ck_assert_str_eq(client.info.version, names[_i]);
        ck_assert_str_eq(client.info.alpn, "fw/1");
        ck_assert_str_eq(client.info.peer_subject, "CN=server");
        ck_assert_int_eq(client.info.resumed, round > 0);
        tlst_say(&client, "CLOSE\n"); /* that is how it is asked to */
        tlst_expect_closed(&client, UV_EOF, "");
    }
    fwt_proc_end(proc);
}
END_TEST

START_TEST(its_server_wants_a_certificate)
{
    char more[400];
    int port = fwt_free_port();
    snprintf(more, sizeof more, "-Verify 2 -verify_return_error -CAfile %s", tlst_file("ca.pem"));
    fwt_proc *proc = start_usual_server(port, versions[_i], more);
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&cert=%s&key=%s", port, tlst_file("ca.pem"),
              tlst_file("client.pem"), tlst_file("client.key"));
    tlst_say(&client, WORDS "\n");
    tlst_expect(&client, SDROW "\n");
    tlst_close(&client);
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&cert=%s&key=%s", port, tlst_file("ca.pem"),
              tlst_file("stranger.pem"), tlst_file("stranger.key"));
    tlst_expect_closed(&client, FW_ETLS, "the peer's alert: ");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", port, tlst_file("ca.pem"));
    tlst_expect_closed(&client, _i ? FW_ETLS : FW_EPROTOCOL, "the peer's alert: ");
    fwt_proc_end(proc);
}
END_TEST

START_TEST(our_client_does_not_take_everything)
{
    int port = fwt_free_port();
    fwt_proc *proc = start_usual_server(port, "-tls1_2", "-alpn fw/1");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", port, tlst_file("other-ca.pem"));
    tlst_expect_closed(&client, FW_ETLS, "unable to get local issuer certificate");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&server_name=elsewhere.example", port,
              tlst_file("ca.pem"));
    tlst_expect_closed(&client, FW_ETLS, "hostname mismatch");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&min=1.3", port, tlst_file("ca.pem"));
    tlst_expect_closed(&client, FW_EPROTOCOL, "protocol version");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&alpn=h2", port, tlst_file("ca.pem"));
    tlst_expect_closed(&client, FW_EPROTOCOL, "no application protocol");
    fwt_proc_end(proc);
    /* a server that is not there any more has said no farewell */
    proc = start_usual_server(port, "-tls1_3", "");
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s", port, tlst_file("ca.pem"));
    tlst_say(&client, WORDS "\n");
    tlst_expect(&client, SDROW "\n");
    fwt_proc_end(proc); /* SIGKILL */
    tlst_expect_closed(&client, FW_EPROTOCOL, "no close_notify");
}
END_TEST

START_TEST(our_client_names_whom_it_wants)
{
    char more[900];
    int port = fwt_free_port();
    snprintf(more, sizeof more, "-servername elsewhere.example -cert2 %s -key2 %s",
             tlst_file("elsewhere.pem"), tlst_file("elsewhere.key"));
    fwt_proc *proc = start_usual_server(port, "-tls1_3", more);
    tlst_dial(&client, NULL, "tls://127.0.0.1:%d?ca=%s&server_name=elsewhere.example", port,
              tlst_file("ca.pem"));
    tlst_say(&client, WORDS "\n");
    tlst_expect(&client, SDROW "\n");
    ck_assert_str_eq(client.info.peer_subject, "CN=elsewhere");
    tlst_close(&client);
    tlst_dial(&client, NULL, "tls://localhost:%d?ca=%s", port, tlst_file("ca.pem"));
    tlst_say(&client, WORDS "\n");
    tlst_expect(&client, SDROW "\n");
    ck_assert_str_eq(client.info.peer_subject, "CN=server");
    tlst_close(&client);
    fwt_proc_end(proc);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("TLS with openssl");
    TCase *tcase = fwt_tcase(suite, "openssl", 120);
    tcase_add_unchecked_fixture(tcase, tlst_make_certificates, tlst_forget_certificates);
    tcase_add_loop_test(tcase, its_client_speaks_to_our_server, 0, 2);
    tcase_add_loop_test(tcase, its_client_resumes, 0, 2);
    tcase_add_loop_test(tcase, its_client_shows_a_certificate, 0, 2);
    tcase_add_test(tcase, its_client_may_not_do_everything);
    tcase_add_loop_test(tcase, our_client_speaks_to_its_server, 0, 2);
    tcase_add_loop_test(tcase, its_server_wants_a_certificate, 0, 2);
    tcase_add_test(tcase, our_client_does_not_take_everything);
    tcase_add_test(tcase, our_client_names_whom_it_wants);
    return fwt_main(suite);
}
