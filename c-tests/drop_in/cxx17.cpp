/*  =========================================================================
    cxx17 - C++17 with owning classes whose destructors destroy objects, threads, two consumers and a producer
    =========================================================================
*/

#include "drop_in.h"
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if __cplusplus < 201703L
#   error "compile this as C++17"
#endif

struct destroyer {
    void operator() (zconfig_t *self) const { zconfig_destroy (&self); }
    void operator() (zactor_t *self) const { zactor_destroy (&self); }
    void operator() (dafka_consumer_t *self) const { dafka_consumer_destroy (&self); }
    void operator() (dafka_consumer_msg_t *self) const { dafka_consumer_msg_destroy (&self); }
    void operator() (dafka_producer_msg_t *self) const { dafka_producer_msg_destroy (&self); }
};

template <typename T> using owner = std::unique_ptr<T, destroyer>;

int
main ()
{
    BEGIN ();
    owner<zconfig_t> config (network_config ());
    const std::vector<std::pair<std::string, std::string>> keys {
        { "producer/terminate_unacked", "1" },
        { "consumer/offset/reset", "earliest" }
    };
    for (const auto &[key, value] : keys)
        zconfig_put (config.get (), key.c_str (), value.c_str ());
    owner<zactor_t> tower (zactor_new (dafka_tower_actor, config.get ()));
    dafka_producer_args_t args { "cxx", config.get () };
    owner<zactor_t> producer (zactor_new (dafka_producer, &args));

    constexpr int records = 100;
    const auto consume = [&config] {
        dafka_consumer_args_t args { config.get (), nullptr };
        owner<dafka_consumer_t> consumer (dafka_consumer_new (&args));
        CHECK (consumer && dafka_consumer_subscribe (consumer.get (), "cxx") == 0);
        owner<dafka_consumer_msg_t> msg (dafka_consumer_msg_new ());
        for (int number = 0; number < records; number++) {
            CHECK (dafka_consumer_msg_recv (msg.get (), consumer.get ()) == 0);
            CHECK (dafka_consumer_msg_streq (msg.get (), std::to_string (number).c_str ()));
        }
    };
    std::vector<std::thread> threads;
    for (int number = 0; number < 2; number++)
        threads.emplace_back (consume);
    owner<dafka_producer_msg_t> msg (dafka_producer_msg_new ());
    for (int number = 0; number < records; number++) {
        CHECK (dafka_producer_msg_set_content_str (msg.get (), std::to_string (number).c_str ()) == 0);
        CHECK (dafka_producer_msg_send (msg.get (), producer.get ()) == 0);
    }
    for (auto &thread : threads)
        thread.join ();
    puts ("cxx17: OK");
}
