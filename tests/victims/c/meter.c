/* meter ARGUMENTS…: stands between the kernel and foretrace-coredump, which lies beside it. It runs the handler with the
   same arguments and descriptors, waits for it and everything that it leaves behind, and appends one line to the file
   meter.log beside itself: CPU time in microseconds, the supervisor's peak memory, and its children's, in KiB.

   Peaks are VmHWM, looked at every 200 microseconds while METER_PEAK lies beside it: the last look before a process's
   end is what counts. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static long peak_of(long pid)
{
    char name[64], line[128];
    long peak = 0;
    snprintf(name, sizeof name, "/proc/%ld/status", pid);
    FILE *status = fopen(name, "r");
    if (status == NULL)
        return 0;
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmHWM: %ld", &peak) == 1)
            break;
    fclose(status);
    return peak;
}

static void look(pid_t supervisor, long *own, long *children)
{
    char name[64];
    long child, peak = peak_of(supervisor);
    if (peak > *own)
        *own = peak;
    snprintf(name, sizeof name, "/proc/%d/task/%d/children", supervisor, supervisor);
    FILE *list = fopen(name, "r");
    if (list == NULL)
        return;
    while (fscanf(list, "%ld", &child) == 1) {
        peak = peak_of(child);
        if (peak > *children)
            *children = peak;
    }
    fclose(list);
}

int main(int argc, char **argv)
{
    (void)argc;
    char self[4096], path[4200];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return 1;
    self[length] = '\0';
    char *folder = dirname(self);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        snprintf(path, sizeof path, "%s/foretrace-coredump", folder);
        execv(path, argv);
        _exit(127);
    }
    /* The kernel waits for the last reader of its pipe. */
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    snprintf(path, sizeof path, "%s/METER_PEAK", folder);
    int peaks = access(path, F_OK) == 0;
    long own = 0, children = 0;
    if (peaks) {
        siginfo_t ended = {0};
        while (waitid(P_PID, supervisor, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0) {
            look(supervisor, &own, &children);
            usleep(200);
        }
    }
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    long long microseconds = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec
                             + used.ru_stime.tv_usec;
    snprintf(path, sizeof path, "%s/meter.log", folder);
    char line[128];
    int bytes = snprintf(line, sizeof line, "%lld %ld %ld\n", microseconds, own, children);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    return log < 0 || write(log, line, (size_t)bytes) != bytes;
}
