console.js
