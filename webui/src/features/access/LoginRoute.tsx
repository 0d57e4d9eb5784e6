import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { login } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { AccessCard } from './AccessCard'
import { useSubmission } from './useSubmission'

export default function LoginRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const { next } = useSearch({ strict: false }) as { next?: string }
  const [email, setEmail] = useState('')
  const [password, setPassword] = useState('')
  const { submit, error, busy } = useSubmission(async () => {
    await login(email, password)
    // Only a path of our own: a link must not be able to send a login elsewhere.
    await navigate({ to: next && /^\/(?!\/)/.test(next) ? next : '/' })
  })

  usePageTitle(t('login.title'))

  return (
    <AccessCard title="Berth" subtitle={t('app.tagline')} error={error} onSubmit={submit}>
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
      <Button type="submit" loading={busy} fullWidth mt="xs">
        {t('login.submit')}
      </Button>
    </AccessCard>
  )
}
