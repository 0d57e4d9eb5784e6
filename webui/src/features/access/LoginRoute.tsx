import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { confirmLogin, login } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { AccessCard } from './AccessCard'
import { CodeField } from './CodeField'
import { OtherWays } from './OtherWays'
import { useSubmission } from './useSubmission'

export default function LoginRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const { next } = useSearch({ strict: false }) as { next?: string }
  // Only a path of our own: a link must not be able to send a login elsewhere.
  const page = next && /^\/(?!\/)/.test(next) ? next : '/'
  const [email, setEmail] = useState('')
  const [password, setPassword] = useState('')
  // Who comes back from an identity provider may have the other half still to do.
  const [ticket, setTicket] = useState(() => location.hash.slice(1) || undefined)
  const [code, setCode] = useState('')
  const { submit, error, busy } = useSubmission(async () => {
    if (ticket) await confirmLogin(ticket, code)
    else {
      const entered = await login(email, password)
      if ('ticket' in entered) return setTicket(entered.ticket)
    }
    await navigate({ to: page })
  })

  usePageTitle(t('login.title'))

  return (
    <AccessCard title="Berth" subtitle={t('app.tagline')} error={error} onSubmit={submit}>
      {ticket ? (
        <CodeField value={code} onChange={setCode} />
      ) : (
        <>
          <TextInput
            label={t('login.email')}
            type="email"
            autoComplete="username"
            value={email}
            onChange={(event) => setEmail(event.currentTarget.value)}
            required
            autoFocus
          />
          <PasswordInput
            label={t('login.password')}
            autoComplete="current-password"
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
            required
          />
        </>
      )}
      <Button type="submit" loading={busy} fullWidth mt="xs">
        {t('login.submit')}
      </Button>
      {!ticket && <OtherWays next={page} />}
    </AccessCard>
  )
}
