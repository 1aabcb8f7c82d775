/*
 * What does a container hold, when it holds one program alone?
 *
 * Linked statically, this is the whole image of the test's containers. Its words say what it does, in order:
 *   say TEXT · env NAME · cat FILE · write FILE · id · sleep SECONDS · eat MEGABYTES · fork COUNT · exit CODE
 *   serve PORT: TCP, one line to everybody who connects: "<its text> <address of the client>"
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void ended(int signal)
{
	(void)signal;
	printf("asked to end\n");
	exit(0);
}

static void serve(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 16)) {
		perror("listen");
		exit(1);
	}
	printf("listening\n");
	for (;;) {
		struct sockaddr_in from;
		socklen_t length = sizeof(from);
		int client = accept(listener, (struct sockaddr *)&from, &length);

		if (client < 0)
			continue;
		dprintf(client, "instance %s\n", inet_ntoa(from.sin_addr));
		close(client);
	}
}

static void cat(const char *path)
{
	char line[4096];
	FILE *file = fopen(path, "r");

	if (!file)
		printf("no %s\n", path);
	while (file && fgets(line, sizeof(line), file))
		fputs(line, stdout);
	if (file)
		fclose(file);
	printf("\n");
}

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGTERM, ended);
	for (int i = 1; i < count; i += 2) {
		const char *verb = words[i], *noun = i + 1 < count ? words[i + 1] : "";

		if (!strcmp(verb, "say")) {
			printf("%s\n", noun);
		} else if (!strcmp(verb, "env")) {
			printf("%s=%s\n", noun, getenv(noun) ? getenv(noun) : "");
		} else if (!strcmp(verb, "cat")) {
			cat(noun);
		} else if (!strcmp(verb, "write")) {
			printf("write %s: %s\n", noun, fopen(noun, "w") ? "done" : "refused");
		} else if (!strcmp(verb, "sleep")) {
			sleep(atoi(noun));
		} else if (!strcmp(verb, "eat")) {
			for (int m = 0; m < atoi(noun); m++)
				memset(malloc(1 << 20), m + 1, 1 << 20);
			printf("ate %s\n", noun);
		} else if (!strcmp(verb, "fork")) {
			int made = 0;

			for (int f = 0; f < atoi(noun); f++) {
				int pid = fork();

				if (pid == 0) {
					sleep(600);
					_exit(0);
				}
				made += pid > 0;
			}
			printf("forked %d\n", made);
		} else if (!strcmp(verb, "serve")) {
			serve(atoi(noun));
		} else if (!strcmp(verb, "exit")) {
			return atoi(noun);
		}
	}
	return 0;
}
