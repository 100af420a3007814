#include "fwt.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

struct fwt_proc {
    pid_t pid;
    int out;
    char *name;
    char *text; /* all output so far */
    size_t len, capacity, seen;
    char line[1024];
    bool ended;
    int code;
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

fwt_proc *fwt_proc_start(const char *const *argv)
{
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        int null = open("/dev/null", O_RDONLY);
        dup2(null, 0);
        execvp(argv[0], (char *const *)argv);
        fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(fds[1]);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    fwt_proc *proc = calloc(1, sizeof *proc);
    proc->pid = pid;
    proc->out = fds[0];
    proc->name = strdup(argv[0]);
    proc->capacity = 4096;
    proc->text = calloc(1, proc->capacity);
    return proc;
}

pid_t fwt_proc_pid(const fwt_proc *proc)
{
    return proc->pid;
}

/* True if every thread of the process is stopped. */
static bool is_stopped(pid_t pid)
{
    char path[300], text[512];
    bool stopped = true;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *task; tasks && stopped && (task = readdir(tasks));) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)pid, task->d_name);
        FILE *file = fopen(path, "r");
        const char *end = file && fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;
        stopped = !end || end[2] == 'T'; /* a thread that is gone does nothing, either */
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return stopped;
}

void fwt_proc_signal(fwt_proc *proc, int sig)
{
    if (proc->ended)
        return;
    kill(proc->pid, sig);
    /* Its threads stop one by one; until then they may still answer. */
    uint64_t deadline = now_ms() + 5000;
    while (sig == SIGSTOP && !is_stopped(proc->pid) && now_ms() < deadline)
        poll(NULL, 0, 1);
}

/* Reads what there is, waiting for at most wait_ms. */
static void drain(fwt_proc *proc, int wait_ms)
{
    struct pollfd fd = {.fd = proc->out, .events = POLLIN};
    if (poll(&fd, 1, wait_ms) <= 0)
        return;
    for (;;) {
        if (proc->capacity - proc->len < 2048)
            proc->text = realloc(proc->text, proc->capacity *= 2);
        ssize_t n = read(proc->out, proc->text + proc->len, proc->capacity - proc->len - 1);
        if (n <= 0) {
            if (!n)
                poll(NULL, 0, wait_ms < 5 ? wait_ms : 5); /* closed: do not spin */
            return;
        }
        proc->len += (size_t)n;
        proc->text[proc->len] = 0;
    }
}

const char *fwt_proc_expect(fwt_proc *proc, const char *text, unsigned timeout_ms)
{
    uint64_t deadline = now_ms() + timeout_ms;
    for (;;) {
        drain(proc, 0);
        for (char *end; (end = strchr(proc->text + proc->seen, '\n'));) {
            char *line = proc->text + proc->seen;
            proc->seen = (size_t)(end - proc->text) + 1;
            snprintf(proc->line, sizeof proc->line, "%.*s", (int)(end - line), line);
            if (strstr(proc->line, text))
                return proc->line;
        }
        if (now_ms() >= deadline)
            ck_abort_msg("%s did not print \"%s\" within %u ms; it printed:\n%s", proc->name, text,
                         timeout_ms, proc->text);
        drain(proc, 20);
    }
}

bool fwt_proc_printed(fwt_proc *proc, const char *text)
{
    drain(proc, 0);
    return strstr(proc->text, text) != NULL;
}

int fwt_proc_wait(fwt_proc *proc, unsigned timeout_ms)
{
    uint64_t deadline = now_ms() + timeout_ms;
    int status;
    while (!proc->ended) {
        pid_t got = waitpid(proc->pid, &status, WNOHANG);
        if (got == proc->pid) {
            proc->ended = true;
            proc->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            break;
        }
        if (now_ms() >= deadline)
            ck_abort_msg("%s did not end within %u ms; it printed:\n%s", proc->name, timeout_ms,
                         proc->text);
        drain(proc, 5);
    }
    drain(proc, 0);
    return proc->code;
}

void fwt_proc_end(fwt_proc *proc)
{
    if (!proc)
        return;
    if (!proc->ended) {
        kill(proc->pid, SIGKILL);
        waitpid(proc->pid, NULL, 0);
    }
    close(proc->out);
    free(proc->name);
    free(proc->text);
    free(proc);
}

/* A temporary file with content, open for reading and writing, already unlinked. */
static int temp_file(const char *content)
{
    char path[300];
    snprintf(path, sizeof path, "%s/io", fwt_tmpdir());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    if (content && *content)
        ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static char *take_output(int fd)
{
    off_t len = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)len + 1);
    ck_assert_int_eq(pread(fd, text, (size_t)len, 0), len);
    return text;
}

int fwt_run(const char *const *argv, const char *input, char **ret_out, char **ret_err,
            unsigned timeout_ms)
{
    int in = temp_file(input), out = temp_file(NULL), err = temp_file(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in, 0);
        dup2(out, 1);
        dup2(err, 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    uint64_t deadline = now_ms() + timeout_ms;
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() >= deadline) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            ck_abort_msg("%s %s did not end within %u ms; stderr: %s", argv[0],
                         argv[1] ? argv[1] : "", timeout_ms, take_output(err));
        }
        poll(NULL, 0, 2);
    }
    if (ret_out)
        *ret_out = take_output(out);
    if (ret_err)
        *ret_err = take_output(err);
    close(in);
    close(out);
    close(err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Below what the kernel gives to outgoing connections (32768 and up by default): one of those, of
 * any test that runs beside, would take a port between our look and the server's. */
#define LEAST_PORT 10240
#define MOST_PORT  32000

int fwt_free_port(void)
{
    for (;;) {
        uint16_t number;
        ck_assert_int_eq(getrandom(&number, sizeof number, 0), sizeof number);
        int port = LEAST_PORT + number % (MOST_PORT - LEAST_PORT);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int err = bind(fd, (struct sockaddr *)&address, sizeof address);
        close(fd);
        if (!err)
            return port;
        ck_assert_int_eq(errno, EADDRINUSE);
    }
}
