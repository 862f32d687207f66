// Calls the adapter's cloud modules, without ioBroker. A line of JSON that comes in makes one, or sets members or calls
// a method of one that was made; the line that goes out has what it returned or threw, and what it logged meanwhile.
'use strict';

const {createInterface} = require('node:readline');

// One of them prints what it was given at a login: standard output is for answers.
console.log = console.error;

const modules = {
  TuyaOpenAPI: require('iobroker.tuya/lib/tuya/lib/tuyaopenapi'),
  TuyaSHOpenAPI: require('iobroker.tuya/lib/tuya/lib/tuyashopenapi'),
};
const made = [];
let logged = [];
const log = {log: (what) => logged.push(String(what))};

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
