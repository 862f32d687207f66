// Builds a device, or a gateway, with the vendor's SDK. A line of JSON that comes in connects it, calls a method of it,
// of which the callback's answer goes out, listens for what the cloud asks, gives the next of that, or replies to it.
'use strict';

const {createInterface} = require('node:readline');
const iot = require('alibabacloud-iot-device-sdk');

let made;
const subs = [];
const arrived = {};
const replies = {};

function queue(what) {
  return (arrived[what] ??= {came: [], wanted: []});
}

function store(what, message) {
  const {came, wanted} = queue(what);
  if (wanted.length) wanted.shift()(message);
  else came.push(message);
}

const commands = {
  // Until it is connected, or was refused.
  connect: ({kind, config}) => new Promise((resolve) => {
    made = iot[kind](config);
    made.on('message', (topic, payload) => store(topic, JSON.parse(payload)));
    // The vendor's SDK connects again by itself.
    made.on('connect', () => store('connected', true));
    made.on('connect', () => resolve({connected: true}));
    made.on('error', ([error]) => resolve({connected: false, code: error.code, message: error.message}));
  }),
  // `of` is the place of a device behind the gateway, in the order of the logins.
  call: ({of, method, args}) => new Promise((resolve) => {
    const returned = (subs[of] ?? made)[method](...args, resolve);
    if (method === 'login') subs.push(returned);
  }),
  do: ({method, args}) => void made[method](...args),
  props: () => made.onProps((message) => store('props', message)),
  shadow: () => made.onShadow((message) => store('shadow', message)),
  service: ({name}) => made.onService(name, (message, reply) => {
    replies[message.id] = reply;
    store(name, message);
  }),
  next: ({what}) => new Promise((resolve) => {
    const {came, wanted} = queue(what);
    if (came.length) resolve(came.shift());
    else wanted.push(resolve);
  }),
  reply: ({answer}) => replies[answer.id](answer),
  end: () => new Promise((resolve) => made.end(false, resolve)),
};

createInterface({input: process.stdin}).on('line', async (line) => {
  const {command, ...words} = JSON.parse(line);
  process.stdout.write(JSON.stringify({received: await commands[command](words)}) + '\n');
});
