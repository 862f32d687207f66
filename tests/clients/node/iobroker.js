// Calls the adapter's cloud modules, without ioBroker. A line of JSON that comes in makes one, or sets members or calls
// a method of one that was made; the line that goes out has what it returned or threw, and what it logged meanwhile.
'use strict';

const {once} = require('node:events');
const {createInterface} = require('node:readline');
const {setImmediate} = require('node:timers/promises');

// One of them prints what it was given at a login: standard output is for answers.
console.log = console.error;

const TuyaOpenMQ = require('iobroker.tuya/lib/tuya/lib/tuyamqttapi');

const made = [];
let logged = [];
const log = {log: (...what) => logged.push(what.map(String).join(' '))};

// A TuyaOpenMQ for an API object. It returns the messages that it received on request instead of calling back.
class Subscriber {
  constructor(api, version, log) {
    this.mq = new TuyaOpenMQ(made[api], version, log);
    this.arrived = [];
    this.wanted = [];
    this.mq.addMessageListener((message) => (this.wanted.shift() ?? this.arrived.push.bind(this.arrived))(message));
  }

  // Until its topic was granted, and whether it was.
  async start() {
    this.mq.start();
    while (this.mq.running && !this.mq.client) await setImmediate();
    if (!this.mq.running) return false;
    for (;;) {
      const [packet] = await once(this.mq.client, 'packetreceive');
      if (packet.cmd === 'suback') return packet.granted.every((code) => code < 128);
    }
  }

  // The next message.
  next() {
    return this.arrived.shift() ?? new Promise((resolve) => this.wanted.push(resolve));
  }

  stop() {
    this.mq.stop();
  }
}

const modules = {
  TuyaOpenAPI: require('iobroker.tuya/lib/tuya/lib/tuyaopenapi'),
  TuyaSHOpenAPI: require('iobroker.tuya/lib/tuya/lib/tuyashopenapi'),
  TuyaOpenMQ: Subscriber,
};

// The log stands behind a module's other arguments.
async function run({module, of = made.length, method, args, members}) {
  if (module) made.push(new modules[module](...args, log));
  Object.assign(made[of], members);
  return method ? made[of][method](...args) : of;
}

async function answer(line) {
  logged = [];
  try {
    return {returned: await run(line), logged};
  } catch (error) {
    return {thrown: error.message, logged};
  }
}

createInterface({input: process.stdin}).on('line', async (line) => {
  process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + '\n');
});
