import { Button, Checkbox, Group, Modal, Stack, Text } from '@mantine/core'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useMutation } from 'urql'
import { Failure } from '../../shared/Failure'
import { type Agent, REMOVE } from './documents'

type Props = { agent?: Agent; opened: boolean; onClose: () => void }

/** Asks before a node is removed. */
export function RemoveAgentDialog({ agent, opened, onClose }: Props) {
  const { t } = useTranslation()
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened={opened}
      onClose={onClose}
      title={t('agents.removeTitle', { name: agent?.name })}
    >
      {agent && <Question agent={agent} onClose={onClose} />}
    </Modal>
  )
}

function Question({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const { t } = useTranslation()
  const [force, setForce] = useState(false)
  const [{ error, fetching }, remove] = useMutation(REMOVE)

  async function confirm() {
    const done = await remove({ input: { id: agent.id, force } })
    if (!done.error) onClose()
  }

  return (
    <Stack>
      {error && <Failure error={error} />}
      <Text size="sm">{t('agents.removeText')}</Text>
      <Checkbox
        label={t('agents.force')}
        checked={force}
        onChange={(event) => setForce(event.currentTarget.checked)}
      />
      <Group justify="flex-end">
        <Button variant="default" onClick={onClose} data-autofocus>
          {t('app.cancel')}
        </Button>
        <Button color="red" loading={fetching} onClick={() => void confirm()}>
          {t('agents.remove')}
        </Button>
      </Group>
    </Stack>
  )
}
