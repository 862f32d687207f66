// Sends each line of JSON that comes in with the vendor's SDK, and prints what it gave back or threw.
'use strict';

const {createInterface} = require('node:readline');
const {Client} = require('aliyun-api-gateway');

async function answer({key, secret, stage, method, url, options}) {
  try {
    return {returned: await new Client(key, secret, stage)[method](url, options)};
  } catch (error) {
    return {thrown: {message: error.message, code: error.code, headers: error.data && error.data.headers}};
  }
}

createInterface({input: process.stdin}).on('line', async (line) => {
  process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + '\n');
});
