// A recommender inside a C++ service on plain sockets: a few threads share it, SIGTERM lets what is under way finish.
//   c++ -std=c++17 service.cpp $(pkg-config --cflags --libs causerie) -lpthread -o service && ./service work/mine 8080
//   curl -d '[{"role": "user", "text": "something funny"}]' http://127.0.0.1:8080/recommend
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <causerie.hpp>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t max_request = 1 << 20;
constexpr int workers = 4, backlog = 64, seconds_to_read = 5, seconds_to_part = 1;

// A file descriptor that closes itself.
class descriptor {
 public:
  explicit descriptor(int fd) : fd_(fd) {
    if (fd < 0) throw std::system_error(errno, std::generic_category());
  }
  descriptor(descriptor &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor &operator=(descriptor &&) = delete;
  ~descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// Connections that wait for a worker; after `end` the rest is handed out, then none.
class queue {
 public:
  void put(descriptor client) {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(std::move(client));
    changed_.notify_one();
  }
  void end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  std::vector<descriptor> take() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !waiting_.empty(); });
    std::vector<descriptor> one;
    if (!waiting_.empty()) {
      one.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    return one;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<descriptor> waiting_;
  bool ended_ = false;
};

struct answer {
  int status;
  std::string body;
};

std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

answer recommend(const causerie::recommender &recommender, const std::string &body) {
  try {
    return {200, recommender.recommend_json(body, 10)};
  } catch (const causerie::error &e) {
    const int status = e.code() == CAUSERIE_INVALID ? 400 : e.code() == CAUSERIE_NOT_FOUND ? 404 : 500;
    return {status, "{\"error\": " + quoted(e.what()) + "}"};
  }
}

// The body of a `POST /recommend`; false with an answer for anything else, and for what does not arrive in time.
bool read_request(int client, std::string &body, answer &refusal) {
  std::string text;
  std::size_t head = std::string::npos, length = 0;
  char buffer[4096];
  for (;;) {
    if (head == std::string::npos && (head = text.find("\r\n\r\n")) != std::string::npos) {
      if (text.compare(0, 16, "POST /recommend ") != 0) {
        refusal = {404, "{\"error\": \"POST /recommend\"}"};
        return false;
      }
      for (std::size_t at = text.find("\r\n"); at < head; at = text.find("\r\n", at + 2)) {
        if (strncasecmp(text.c_str() + at + 2, "content-length:", 15) == 0) {
          length = std::strtoul(text.c_str() + at + 17, nullptr, 10);
        }
      }
      head += 4;
    }
    if (length > max_request || text.size() > max_request + sizeof buffer) {
      refusal = {413, "{\"error\": \"a request of more than a megabyte\"}"};
      return false;
    }
    if (head != std::string::npos && text.size() - head >= length) {
      body = text.substr(head, length);
      return true;
    }
    const ssize_t read = recv(client, buffer, sizeof buffer, 0);
    if (read <= 0) {
      refusal = {408, "{\"error\": \"the request did not arrive\"}"};
      return false;
    }
    text.append(buffer, static_cast<std::size_t>(read));
  }
}

// Says that no more comes, and takes what the client still sends, for a moment: closing over bytes that were not read
// resets the connection, and with it the answer that is on its way.
void part(int client) {
  shutdown(client, SHUT_WR);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds_to_part);
  const timeval patience = {seconds_to_part, 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char buffer[4096];
  while (std::chrono::steady_clock::now() < until && recv(client, buffer, sizeof buffer, 0) > 0) {
  }
}

void serve_one(const causerie::recommender &recommender, int client) {
  const timeval patience = {seconds_to_read, 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  std::string body;
  answer out;
  if (read_request(client, body, out)) out = recommend(recommender, body);
  const std::string text = "HTTP/1.1 " + std::to_string(out.status) + (out.status == 200 ? " OK" : " Refused") +
                           "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
                           std::to_string(out.body.size()) + "\r\n\r\n" + out.body;
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t n = send(client, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return;
    sent += static_cast<std::size_t>(n);
  }
  part(client);
}

void serve(const std::string &work, std::uint16_t port) {
  // Blocked in every thread that is started from here on: the loop below reads the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const descriptor asked_to_end(signalfd(-1, &signals, SFD_CLOEXEC));

  causerie::check_version();
  const causerie::config config;
  const auto recommender = causerie::recommender::open(work, config);

  const descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener.get(), reinterpret_cast<sockaddr *>(&address), size) != 0 || listen(listener.get(), backlog) != 0 ||
      getsockname(listener.get(), reinterpret_cast<sockaddr *>(&address), &size) != 0) {
    throw std::system_error(errno, std::generic_category(), "port " + std::to_string(port));
  }
  std::cerr << causerie::version() << ", " << recommender.size() << " items, on http://127.0.0.1:"
            << ntohs(address.sin_port) << "/recommend" << std::endl;

  queue clients;
  std::vector<std::thread> threads;
  for (int i = 0; i < workers; i++) {
    threads.emplace_back([&] {
      for (;;) {
        // Its own to this turn: a connection is closed when it was answered, not when the next one comes.
        const auto client = clients.take();
        if (client.empty()) break;
        serve_one(recommender, client[0].get());
      }
    });
  }
  pollfd watched[] = {{listener.get(), POLLIN, 0}, {asked_to_end.get(), POLLIN, 0}};
  while (watched[1].revents == 0) {
    if (poll(watched, 2, -1) < 0 && errno != EINTR) break;
    if (watched[0].revents == 0) continue;
    const int client = accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) clients.put(descriptor(client));
  }
  // No new ones; those that were accepted are answered. Then the recommender is closed.
  clients.end();
  for (auto &thread : threads) thread.join();
}

}  // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    std::cerr << "usage: service WORK_DIR [PORT]\n";
    return 2;
  }
  try {
    serve(argv[1], static_cast<std::uint16_t>(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 8080));
  } catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}
